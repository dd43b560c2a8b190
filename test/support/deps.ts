import { pino } from 'pino';
import { Bus } from '../../src/bus/bus.ts';
import type { Fact } from '../../src/bus/fact.ts';
import { defaultConfig } from '../../src/config/defaults.ts';
import type { Config } from '../../src/config/config.ts';
import type { HostFacts } from '../../src/host/port.ts';
import { type Clock, systemClock } from '../../src/lib/clock.ts';
import { Reactor } from '../../src/reactor/reactor.ts';
import type { RoomDeps } from '../../src/reactor/room.ts';
import { memoryStore } from '../../src/store/memory.ts';

export const testHost: HostFacts = {
  kernelVersion: '6.1.0',
  operatingSystem: 'Debian GNU/Linux 12 (bookworm)',
  osVersion: '12',
  architecture: 'amd64',
  machine: 'x86_64',
  cpus: 2,
  memoryBytes: 4 << 30,
  hostname: 'testhost',
  cgroup: {
    version: 1,
    driver: 'cgroupfs',
    controllers: new Set(['memory', 'cpu', 'cpuacct', 'cpuset', 'pids', 'blkio', 'devices', 'freezer']),
    mounts: {},
  },
  seccomp: true,
  apparmor: false,
  selinux: false,
  userns: true,
  capabilities: ['CAP_CHOWN', 'CAP_KILL', 'CAP_NET_BIND_SERVICE', 'CAP_SYS_ADMIN'],
  ipv4Forwarding: true,
  ipv6: true,
};

export interface TestDeps extends RoomDeps {
  /** Everything published so far. */
  facts: Fact[];
  /** `action` of each Docker event so far. */
  events(type?: string): string[];
}

/** What a room needs, over a memory store and with a silent log. */
export function testDeps(options: { config?: Partial<Config>; clock?: Clock } = {}): TestDeps {
  const clock = options.clock ?? systemClock;
  const log = pino({ level: process.env.TEST_LOG ?? 'silent' });
  const store = memoryStore();
  const bus = new Bus({ clock, onError: (error) => log.error(error) });
  const facts: Fact[] = [];
  bus.facts$.subscribe((fact) => {
    facts.push(fact);
    store.journal.append(fact);
  });
  return {
    config: { ...defaultConfig, ...options.config },
    log,
    clock,
    bus,
    store,
    reactor: new Reactor({ bus, clock, log }),
    host: testHost,
    facts,
    events: (type) =>
      facts.filter((fact) => fact.topic === 'event' && (!type || fact.type === type)).map((fact) => fact.action),
  };
}
