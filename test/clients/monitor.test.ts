import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startDaemon, type TestDaemon } from '../support/daemon.ts';
import { eventually } from '../support/eventually.ts';

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
    child.stdin.write('/steady\r');
    await eventually(() => screen.includes('filter steady'), { what: 'the filter' });
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

  it('prints facts as lines elsewhere', async () => {
    const child = spawn(reactord, ['monitor', '--json', '-H', `unix://${daemon.socket}`], { stdio: 'pipe' });
    children.push(child);
    let output = '';
    child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
    let turn = 0;
    // Until it listens, what happens is not for it.
    await eventually(() => {
      daemon.ok('rename', turn % 2 ? 'gone2' : 'gone', turn % 2 ? 'gone' : 'gone2');
      turn++;
      return output.includes('"action":"rename"');
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
    for (const name of [
      'engine_daemon_engine_info',
      'engine_daemon_container_actions_seconds_bucket',
      'engine_daemon_events_total',
      'reactord_transitions_total',
      'reactord_effect_seconds_count',
      'reactord_journal_rows',
    ])
      expect(stdout).toContain(name);
    expect(stdout).toContain('engine_daemon_container_states_containers{state="running"} 1');
    expect(stdout).toMatch(/reactord_actors\{kind="container",state="exited"\} 1/);
  });

  it('are scraped by a real Prometheus', async () => {
    const directory = join(daemon.directory, 'prometheus');
    mkdirSync(directory);
    writeFileSync(
      join(directory, 'config.yml'),
      `global: {scrape_interval: 1s}\nscrape_configs:\n- job_name: reactord\n  static_configs: [{targets: ['${METRICS}']}]\n`,
    );
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
    await eventually(
      () => {
        const query = 'engine_daemon_container_states_containers{state="running"}';
        const { stdout } = daemon.inside(
          'curl',
          '-s',
          '-G',
          `http://${PROMETHEUS}/api/v1/query`,
          '--data-urlencode',
          `query=${query}`,
        );
        return (
          (JSON.parse(stdout) as { data: { result: { value: [number, string] }[] } }).data.result[0]?.value[1] === '1'
        );
      },
      { within: 40_000, what: 'the sample in Prometheus' },
    );
    child.kill('SIGTERM');
    await eventually(() => child.exitCode !== null || child.signalCode !== null, { what: 'the end of Prometheus' });
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
    expect(explained).toMatch(/How it got here:\n.*→ exited/s);
  });
});
