import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { type IncomingMessage, request } from 'node:http';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startDaemon, type TestDaemon } from '../support/daemon.ts';
import { eventually } from '../support/eventually.ts';
import { flood } from '../support/flood.ts';

const METRICS = '127.0.0.1:9323';
const PROMETHEUS = '127.0.0.1:9090';
const reactord = join(import.meta.dirname, '../../bin/reactord');

let daemon: TestDaemon;
const children: ChildProcess[] = [];

beforeAll(async () => {
  daemon = await startDaemon({ flags: ['--metrics-addr', METRICS] });
  const said = 'echo said $((40 + 2)); exec sleep 1000';
  daemon.ok('run', '-d', '--name', 'steady', '--network', 'none', daemon.image, 'sh', '-c', said);
  daemon.ok('run', '--name', 'gone', '--network', 'none', daemon.image, 'true');
  const counted = ['--name', 'counted', '--label', 'reactord.metrics=true'];
  daemon.ok('run', ...counted, '--network', 'none', daemon.image, 'true');
});

afterAll(async () => {
  for (const child of children) child.kill('SIGKILL');
  await daemon?.stop();
});

const command = (...args: string[]) =>
  daemon.inside(reactord, args[0]!, '-H', `unix://${daemon.socket}`, ...args.slice(1));

describe('reactord in the terminal', () => {
  it('explains where a container is and how it got there', () => {
    const { stdout, code } = command('explain', 'steady');
    expect(code).toBe(0);
    expect(stdout).toContain('container steady is running');
    expect(stdout).toMatch(/It would accept:\n.*STOP/);
    expect(stdout).toMatch(/How it got here:\n(.|\n)*API POST/);
  });

  it('draws a chart as a tree and as Mermaid', () => {
    expect(command('chart', 'steady').stdout).toContain('● running');
    expect(command('chart', '--mermaid', 'steady').stdout).toMatch(/^stateDiagram-v2(.|\n)*class container_running/);
  });

  it('says in one line when something is not there', () => {
    const { stderr, code } = command('explain', 'nobody');
    expect(code).toBe(1);
    expect(stderr).toBe('reactord explain: No such actor: container/nobody\n');
  });

  it('lists containers once, as a table and as JSON', () => {
    expect(command('monitor', '--once').stdout).toMatch(/^NAME +STATE.*\n(.*\n)*steady +running/);
    const rows = command('monitor', '--once', '--json')
      .stdout.trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { name: string; state: string });
    expect(rows).toContainEqual(expect.objectContaining({ name: 'gone', state: 'exited' }));
  });

  it('shows a live table in a real terminal, filters, opens a chart, and leaves the screen as it was', async () => {
    // script(1) gives it a pseudo-terminal.
    const child = spawn(
      'script',
      ['-qfec', `stty cols 160 rows 40; ${reactord} monitor -H unix://${daemon.socket}`, '/dev/null'],
      { stdio: 'pipe' },
    );
    children.push(child);
    let screen = '';
    child.stdout.on('data', (chunk: Buffer) => (screen += chunk.toString()));
    await eventually(() => screen.includes('steady') && screen.includes('sorted by name'), { what: 'the table' });
    for (const key of ['project', 'state', 'cpu']) {
      child.stdin.write('s');
      await eventually(() => screen.includes(`sorted by ${key}`), { what: `the order by ${key}` });
    }
    // What uses the processor is above what has ended; the chosen row is the first one.
    const last = (): string => screen.slice(screen.lastIndexOf('\x1b[H'));
    await eventually(() => /NAME[^]*steady[^]*gone/.test(last()), { what: 'the busy one on top' });
    child.stdin.write('/steady\r');
    await eventually(() => screen.includes('filter steady'), { what: 'the filter' });
    child.stdin.write('e');
    await eventually(() => last().includes('How it got here:') && last().includes('launch end'), { what: 'why' });
    child.stdin.write('\x1b');
    await eventually(() => last().includes('NAME'), { what: 'the table after that' });
    child.stdin.write('l');
    await eventually(() => screen.includes('said 42'), { what: 'its logs' });
    child.stdin.write('\x1b');
    // A lone Escape counts only after a pause; what follows it at once would be read as a sequence.
    await eventually(() => screen.lastIndexOf('NAME') > screen.lastIndexOf('said 42'), { what: 'the table again' });
    child.stdin.write('/' + '\x7f'.repeat(6) + 'gone\r');
    await eventually(() => screen.includes('filter gone') && screen.includes('1 containers'), { what: 'the filter' });
    child.stdin.write('c');
    await eventually(() => screen.includes('● exited'), { what: 'the chart' });
    child.stdin.write('q');
    await eventually(() => child.exitCode !== null, { what: 'its end' });
    expect(child.exitCode).toBe(0);
    expect(screen.endsWith('\x1b[?25h\x1b[?1049l')).toBe(true);
  });

  it.each([
    ['--json', /^\{.*"action":"rename".*\}$/m],
    ['as text', /^\S+Z container [0-9a-f]{12} event container rename$/m],
  ])('prints facts as lines elsewhere (%s)', async (flag, line) => {
    const flags = flag === '--json' ? [flag] : [];
    const child = spawn(reactord, ['monitor', ...flags, '-H', `unix://${daemon.socket}`], { stdio: 'pipe' });
    children.push(child);
    let output = '';
    child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
    let turn = 0;
    // Until it listens, what happens is not for it.
    await eventually(() => {
      daemon.ok('rename', turn % 2 ? 'gone2' : 'gone', turn % 2 ? 'gone' : 'gone2');
      turn++;
      return line.test(output);
    });
    if (turn % 2) daemon.ok('rename', 'gone2', 'gone');
    child.kill('SIGTERM');
    await eventually(() => child.exitCode !== null);
  });
});

describe('the causal chain', () => {
  interface Link {
    seq: number;
    topic: string;
    action: string;
    cause?: number;
    data?: Record<string, string>;
  }
  const why = async (name: string): Promise<string[]> => {
    const { facts } = (await daemon.api<{ facts: Link[] }>('GET', `/reactord/actors/container/${name}/why`)).json;
    const inIt = new Set(facts.map(({ seq }) => seq));
    // Effects are told by their end: their beginning is left out.
    const loose = facts.filter(({ topic, cause }, at) => at && topic !== 'effect' && !inIt.has(cause ?? 0));
    expect(loose.map(({ data }) => data?.from).filter((from) => !from?.startsWith('running'))).toEqual([]);
    return facts.map(({ topic, action, data }) => {
      if (topic === 'transition') return `→ ${data!.to}`;
      return topic === 'effect'
        ? `${data!.effect} ${action}`
        : topic === 'command'
          ? `${action} ${data!.path}`
          : action;
    });
  };
  const stateOf = async (name: string): Promise<string> =>
    (await daemon.api<{ state: string }>('GET', `/reactord/actors/container/${name}`)).json.state;

  it('goes over restarts by the policy and over health checks back to the very request, whoever else asks meanwhile', async () => {
    const create = (name: string, ...flags: string[]): string =>
      daemon.ok('create', '--name', name, '--network', 'none', ...flags);
    const ids = {
      loops: create('loops', '--restart', 'on-failure:2', daemon.image, 'sh', '-c', 'sleep 0.3; exit 3'),
      sick: create(
        ...(['sick', '--health-cmd', 'exit 1', '--health-interval', '100ms', '--health-retries', '2'] as const),
        ...[daemon.image, 'sleep', '1000'],
      ),
    };
    await Promise.all(Object.values(ids).map((id) => daemon.api('POST', `/containers/${id}/start`)));
    await eventually(async () => (await stateOf('loops')) === 'exited.settled', { what: 'the end of the loop' });
    await eventually(async () => (await stateOf('sick')).includes('unhealthy'), { what: 'the failed probes' });
    const request = (id: string): string => `accept /containers/${id}/start`;
    const run = ['→ starting.preparing', 'prepare end', '→ starting.creating', 'create end', '→ starting.launching'];
    const up = [...run, 'launch end', '→ running{process: up, health: none}', 'start'];
    const again = ['→ restarting.settling', 'die', 'settle end', '→ restarting.waiting', ...up];
    const loops = (await why('loops')).filter((line) => !line.startsWith('answer'));
    expect(loops).toEqual([
      request(ids.loops),
      ...up,
      ...again,
      ...again,
      '→ exited.settling',
      'die',
      'settle end',
      '→ exited.settled',
    ]);
    const sick = await why('sick');
    expect(sick[0]).toBe(request(ids.sick));
    expect(sick).toContain(`answer /containers/${ids.sick}/start`);
    expect(sick.slice(-2)).toEqual(['→ running{process: up, health: unhealthy}', 'health_status: unhealthy']);
    expect(command('explain', 'loops').stdout).toMatch(
      /running.* → exited.settling  on EXIT\n.*event container die exitCode=3\n/,
    );
    daemon.ok('rm', '-f', 'loops', 'sick');
  });
});

describe('the metrics', () => {
  it('have dockerd’s names and ours', async () => {
    const { stdout } = daemon.inside('curl', '-s', `http://${METRICS}/metrics`);
    const names = [...stdout.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name);
    for (const name of ['container_actions_seconds', 'container_states_containers', 'engine_cpus_cpus', 'engine_info'])
      expect(names).toContain(`engine_daemon_${name}`);
    for (const name of ['engine_memory_bytes', 'events_subscribers_total', 'events_total', 'image_actions_seconds'])
      expect(names).toContain(`engine_daemon_${name}`);
    for (const name of ['health_check_start_duration_seconds', 'health_checks_failed_total', 'health_checks_total'])
      expect(names).toContain(`engine_daemon_${name}`);
    expect(names).toContain('engine_daemon_network_actions_seconds');
    for (const name of ['actors', 'transitions_total', 'effect_seconds', 'effect_failures_total', 'journal_rows'])
      expect(names).toContain(`reactord_${name}`);
    for (const name of ['loop_delay_p99_seconds', 'bus_depth', 'bus_dropped', 'container_restarts', 'container_state'])
      expect(names).toContain(`reactord_${name}`);
    const value = (series: string): number =>
      Number(
        stdout
          .split('\n')
          .find((line) => line.startsWith(`${series} `))
          ?.split(' ')[1],
      );
    expect(value('engine_daemon_image_actions_seconds_count{action="pull"}')).toBe(1);
    expect(value('engine_daemon_container_actions_seconds_count{action="start"}')).toBeGreaterThan(4);
    // The two checks of the container that is checked failed; a third may be under way.
    expect(value('engine_daemon_health_checks_failed_total')).toBeGreaterThan(1);
    expect(value('engine_daemon_health_checks_total')).toBeGreaterThan(1);
    expect(stdout).toMatch(/reactord_container_state\{id="[0-9a-f]{12}",name="counted",state="exited"\} 1/);
    expect(stdout).not.toContain('name="gone"');
    expect(stdout).toContain('engine_daemon_container_states_containers{state="running"} 1');
    expect(stdout).toMatch(/reactord_actors\{kind="container",state="exited"\} 2/);
  });

  it('are scraped by a real Prometheus', async () => {
    const directory = join(daemon.directory, 'prometheus');
    mkdirSync(directory);
    writeFileSync(
      join(directory, 'config.yml'),
      `global: {scrape_interval: 1s}\nscrape_configs:\n- job_name: reactord\n  static_configs: [{targets: ['${METRICS}']}]\n`,
    );
    const series = (query: string): string | undefined => {
      const url = `http://${PROMETHEUS}/api/v1/query`;
      const { stdout } = daemon.inside('curl', '-s', '-G', url, '--data-urlencode', `query=${query}`);
      return (JSON.parse(stdout) as { data: { result: { value: [number, string] }[] } }).data.result[0]?.value[1];
    };
    const child = spawn(
      'nsenter',
      [
        `--net=${daemon.netns}`,
        'prometheus',
        `--config.file=${directory}/config.yml`,
        `--storage.tsdb.path=${directory}/data`,
        `--web.listen-address=${PROMETHEUS}`,
      ],
      { stdio: 'ignore' },
    );
    children.push(child);
    await eventually(() => series('engine_daemon_container_states_containers{state="running"}') === '1', {
      ...{ within: 40_000, what: 'the sample in Prometheus' },
    });
    // What dashboards are made of: rates by state, and quantiles of what takes how long.
    expect(Number(series('sum(reactord_transitions_total{kind="container",to="running"})'))).toBeGreaterThan(2);
    const slow = 'histogram_quantile(0.9, sum(reactord_effect_seconds_bucket{effect="launch"}) by (le))';
    expect(Number(series(slow))).toBeGreaterThan(0);
    expect(series('reactord_container_restarts{name="counted"}')).toBe('0');
    child.kill('SIGTERM');
    await eventually(() => child.exitCode !== null || child.signalCode !== null, { what: 'the end of Prometheus' });
  });
});

describe('many subscribers', () => {
  it('cost the daemon nothing when they are slow: what they lose is counted, and comes from the journal once they read', async () => {
    const dropped = (): number =>
      Number(/^reactord_bus_dropped (\d+)/m.exec(daemon.inside('curl', '-s', `http://${METRICS}/metrics`).stdout)![1]);
    const before = dropped();
    const open = (filters: object): Promise<IncomingMessage> =>
      new Promise((resolve, reject) => {
        const path = `/events?filters=${encodeURIComponent(JSON.stringify(filters))}`;
        const call = request({ socketPath: daemon.socket, path, agent: false }, resolve);
        call.on('error', reject);
        call.end();
      });
    const fast = await Promise.all(Array.from({ length: 300 }, () => open({ type: ['volume'] })));
    const heard = fast.map((answer) => {
      let text = '';
      answer.on('data', (chunk: Buffer) => (text += chunk.toString()));
      return () => text.includes('"create"');
    });
    // Nobody reads what this one is sent.
    const slow = await open({ event: ['rename'] });
    const label = `filler=${'x'.repeat(10_000)}`;
    const ids = Array.from({ length: 10 }, () =>
      daemon.ok('create', '--label', label, '--network', 'none', daemon.image, 'true'),
    );
    const count = 1400;
    const renames = Array.from({ length: count }, (_, i) => `/containers/${ids[i % 10]}/rename?name=r${i}`);
    expect(new Set(await flood(daemon.socket, 'POST', renames))).toEqual(new Set([204]));
    daemon.ok('volume', 'create', 'loud');
    await eventually(() => heard.every((has) => has()), { what: 'the event at all 300' });
    expect(dropped()).toBeGreaterThan(before);
    let text = '';
    slow.on('data', (chunk: Buffer) => (text += chunk.toString()));
    await eventually(() => text.split('\n').length > count, { what: 'every event at the slow one' });
    const actions = text
      .trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as { Action: string }).Action);
    expect(actions).toEqual(Array.from({ length: count }, () => 'rename'));
    for (const answer of [...fast, slow]) answer.destroy();
    daemon.ok('volume', 'rm', 'loud');
    daemon.ok('rm', ...ids);
  });
});

describe('the journal', () => {
  it('outlives the daemon: events from before come again, resume after a position, and /reactord/facts has how it was', async () => {
    const { Id } = (await daemon.api('GET', '/containers/gone/json')).json as { Id: string };
    // It would make the daemon's end wait for its grace.
    daemon.ok('rm', '-f', 'steady');
    await daemon.restart();
    const filters = encodeURIComponent(JSON.stringify({ container: [Id], event: ['create', 'die'] }));
    const until = Date.now() / 1000;
    const past = async (more: string) =>
      (await daemon.api('GET', `/events?${more}&until=${until}&filters=${filters}`)).text
        .trim()
        .split('\n')
        .filter(Boolean)
        .map((line) => JSON.parse(line) as { Action: string; seq?: number });
    expect((await past('since=0')).map(({ Action }) => Action)).toEqual(['create', 'die']);
    const [first] = await past('after=0');
    expect((await past(`after=${first!.seq}`)).map(({ Action }) => Action)).toEqual(['die']);
    const explained = command('explain', 'gone').stdout;
    expect(explained).toContain('container gone is exited.settled');
    expect(explained).toMatch(/How it got here:\n.*API POST.*→ exited/s);
  });

  it('keeps as many facts as it is told, and tells a reader that resumes before them what is gone', async () => {
    const nobody = Array.from({ length: 600 }, () => '/containers/nobody/start');
    expect(new Set(await flood(daemon.socket, 'POST', nobody))).toEqual(new Set([404]));
    await daemon.restart('--journal-keep', '1000');
    const rows = async () => (await daemon.api<{ seq: number }[]>('GET', '/reactord/facts?limit=5000')).json;
    await eventually(async () => (await rows()).length <= 1010, { what: 'the pruned journal' });
    const [oldest] = await rows();
    const until = Date.now() / 1000;
    const { text } = await daemon.api('GET', `/events?after=1&until=${until}`);
    const first = JSON.parse(text.split('\n')[0]!) as { Action: string; Actor: { Attributes: Record<string, string> } };
    expect(first).toMatchObject({ Type: 'daemon', Action: 'events_dropped' });
    const through = Number(first.Actor.Attributes.through);
    expect(first.Actor.Attributes.after).toBe('1');
    expect(through).toBeGreaterThan(1);
    expect(through).toBeLessThanOrEqual(oldest!.seq);
  });
});
