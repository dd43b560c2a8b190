/** Why one container can or cannot reach another: each question that decides it, with its answer. Read only. */
import type { Config } from '../config/config.ts';
import { notFound } from '../errors.ts';
import type { Firewall } from './firewall.ts';
import { bridgeElements, describePort, portElements } from './firewall-rules.ts';
import { betweenEnds } from './driver-options.ts';
import { iccOf } from './link-script.ts';
import { linkExists, rulesOf } from './network-links.ts';
import type { EndpointRecord, NetworkRecord, SandboxRecord } from './record.ts';
import type { NetworkRegistry } from './registry.ts';
import type { Sandboxes } from './sandboxes.ts';

export interface ReachCheck {
  question: string;
  holds: boolean;
  detail: string;
}

export interface ReachPath {
  /** The network both are in, or the published port. */
  by: string;
  works: boolean;
  /** Addresses, names or host ports to use. */
  use: string[];
  checks: ReachCheck[];
}

export interface Reach {
  from: string;
  to: string;
  reachable: boolean;
  summary: string;
  paths: ReachPath[];
}

export interface ReachDeps {
  registry: NetworkRegistry;
  sandboxes: Sandboxes;
  firewall: Firewall;
  config: Config;
}

const find = (sandboxes: Sandboxes, text: string): SandboxRecord => {
  const found =
    sandboxes.get(text) ??
    sandboxes.all().find((sandbox) => sandbox.request.name === text) ??
    sandboxes.all().find((sandbox) => sandbox.containerId.startsWith(text));
  if (!found || found.phase !== 'open') throw notFound(`container ${text} has no network now: it is not running`);
  return found;
};

export async function explainReach(deps: ReachDeps, fromText: string, toText: string): Promise<Reach> {
  const [from, to] = [find(deps.sandboxes, fromText), find(deps.sandboxes, toText)];
  const shared = from.endpoints.flatMap((mine) => {
    const theirs = to.endpoints.find((endpoint) => endpoint.networkId === mine.networkId && endpoint.ifname !== '');
    const network = deps.registry.get(mine.networkId);
    return theirs && network ? [{ mine, theirs, network }] : [];
  });
  const paths = await Promise.all(
    shared.map((one) => direct(deps, one.network, one.mine, one.theirs, isLinked(from, to))),
  );
  if (to.ports.length) paths.push(await published(deps, from, to));
  const working = paths.find((path) => path.works);
  return {
    from: from.request.name,
    to: to.request.name,
    reachable: working !== undefined,
    summary: working ? `by ${working.by}: ${working.use.join(', ')}` : reasonOf(paths, from, to),
    paths,
  };
}

function reasonOf(paths: readonly ReachPath[], from: SandboxRecord, to: SandboxRecord): string {
  const failed = paths.flatMap((path) =>
    path.checks.filter((check) => !check.holds).map((check) => `${path.by}: ${check.detail}`),
  );
  if (failed.length) return failed.join('; ');
  return `${from.request.name} and ${to.request.name} share no network, and ${to.request.name} publishes no port`;
}

const isLinked = (from: SandboxRecord, to: SandboxRecord): boolean =>
  from.request.links.some(({ containerId }) => containerId === to.containerId);

async function direct(
  deps: ReachDeps,
  network: NetworkRecord,
  mine: EndpointRecord,
  theirs: EndpointRecord,
  linked: boolean,
): Promise<ReachPath> {
  const checks: ReachCheck[] = [{ question: 'same network', holds: true, detail: `both are in ${network.name}` }];
  if (network.driver === 'bridge') {
    const icc = iccOf(network);
    const opened = linked && network.name === 'bridge' && deps.config.firewall;
    checks.push({
      question: 'communication between containers',
      holds: icc || opened,
      detail: icc
        ? 'icc is on'
        : opened
          ? 'icc is off, and a link opens the ports that the other exposes'
          : 'icc is off: containers of this network are isolated from each other',
    });
    for (const link of [network.link, mine.hostLink, theirs.hostLink]) {
      const there = await linkExists(link);
      checks.push({
        question: `link ${link}`,
        holds: there,
        detail: there ? 'is there' : `the link ${link} is missing`,
      });
    }
    if (deps.config.firewall) {
      const has = await deps.firewall.has(bridgeElements(rulesOf(network, deps.config)));
      checks.push({
        question: 'rules',
        holds: has,
        detail: has ? 'are written' : `the rules of ${network.link} are missing`,
      });
    }
  }
  const between = betweenEnds(network);
  if (between)
    checks.push({
      question: 'mode',
      holds: between !== 'private',
      detail: between === 'vepa' ? 'the switch beyond the parent decides (vepa)' : `the mode is ${between}`,
    });
  const works = checks.every((check) => check.holds);
  const resolves = theirs.names.length > 0 && mine.names.length > 0;
  // A name that does not resolve is worth saying, but addresses still work.
  checks.push({
    question: 'name',
    holds: resolves,
    detail: resolves ? `${theirs.names[0]} resolves` : 'names do not resolve on this network',
  });
  return {
    by: `network ${network.name}`,
    works,
    use: [...(resolves ? theirs.names : []), theirs.ipv4, theirs.ipv6].filter(Boolean),
    checks,
  };
}

async function published(deps: ReachDeps, from: SandboxRecord, to: SandboxRecord): Promise<ReachPath> {
  const onHost = from.netnsPath === '';
  const networks = from.endpoints
    .map((endpoint) => deps.registry.get(endpoint.networkId))
    .filter((network) => network !== undefined);
  const way = onHost || networks.some((network) => !network.internal && network.driver === 'bridge');
  const written = !deps.config.firewall || (await deps.firewall.has(to.ports.flatMap(portElements)));
  const open = to.ports.filter((port) => onHost || !port.hostIp.startsWith('127.'));
  const checks: ReachCheck[] = [
    {
      question: 'published port',
      holds: open.length > 0,
      detail: open.length ? open.map(describePort).join(', ') : "ports are published on the host's loopback only",
    },
    { question: 'way out', holds: way, detail: way ? 'the host can be reached' : 'all its networks are internal' },
    { question: 'rule', holds: written, detail: written ? 'is written' : 'the rule of a port is missing' },
  ];
  return { by: 'published port', works: checks.every((check) => check.holds), use: open.map(describePort), checks };
}
