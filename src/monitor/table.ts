/** The monitor's table: pure from what was read to lines of text. */
import { span } from '../visualizer/explain.ts';

export interface MonitorRow {
  id: string;
  name: string;
  /** Compose project; '' for none. */
  project: string;
  state: string;
  health: string;
  /** Milliseconds since the epoch of the present state. */
  since: number;
  restarts: number;
  /** Percent of one core. */
  cpu?: number;
  memory?: number;
  network?: { rx: number; tx: number };
  block?: { read: number; write: number };
  lastEvent: string;
  waiting: string;
}

export type SortKey = 'name' | 'project' | 'state' | 'cpu' | 'memory' | 'since' | 'restarts';

export const SORT_KEYS: readonly SortKey[] = ['name', 'project', 'state', 'cpu', 'memory', 'since', 'restarts'];

const descending: ReadonlySet<SortKey> = new Set(['cpu', 'memory', 'restarts', 'since']);

export function sorted(rows: readonly MonitorRow[], key: SortKey): MonitorRow[] {
  const direction = descending.has(key) ? -1 : 1;
  return [...rows].sort((a, b) => {
    const [x, y] = [a[key] ?? -1, b[key] ?? -1];
    return (x < y ? -1 : x > y ? 1 : 0) * direction || a.name.localeCompare(b.name);
  });
}

export const filtered = (rows: readonly MonitorRow[], word: string): MonitorRow[] =>
  rows.filter((row) => [row.name, row.project, row.state, row.health, row.id].some((field) => field.includes(word)));

export function size(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let value = bytes;
  let unit = 0;
  for (; value >= 1000 && unit < units.length - 1; unit++) value /= 1000;
  return `${value >= 100 || unit === 0 ? value.toFixed(0) : value.toFixed(1)} ${units[unit]}`;
}

const COLUMNS: readonly { title: string; width: number; cell(row: MonitorRow, now: number): string }[] = [
  { title: 'NAME', width: 20, cell: (row) => row.name },
  { title: 'PROJECT', width: 12, cell: (row) => row.project },
  { title: 'STATE', width: 24, cell: (row) => row.state },
  { title: 'HEALTH', width: 10, cell: (row) => row.health },
  { title: 'FOR', width: 13, cell: (row, now) => span(now - row.since) },
  { title: 'RST', width: 4, cell: (row) => String(row.restarts) },
  { title: 'CPU %', width: 7, cell: (row) => row.cpu?.toFixed(1) ?? '' },
  { title: 'MEMORY', width: 9, cell: (row) => (row.memory === undefined ? '' : size(row.memory)) },
  {
    title: 'NET rx/tx',
    width: 18,
    cell: (row) => (row.network ? `${size(row.network.rx)}/${size(row.network.tx)}` : ''),
  },
  {
    title: 'BLOCK r/w',
    width: 18,
    cell: (row) => (row.block ? `${size(row.block.read)}/${size(row.block.write)}` : ''),
  },
  { title: 'LAST EVENT', width: 18, cell: (row) => row.lastEvent },
  { title: 'WAITS FOR', width: 40, cell: (row) => row.waiting },
];

const fit = (text: string, width: number): string =>
  text.length > width ? `${text.slice(0, width - 1)}…` : text.padEnd(width);

/** Lines no wider than `width`: columns that do not fit are left out from the right, and the projects' where there is none. */
export function monitorTable(rows: readonly MonitorRow[], now: number, width: number): string[] {
  let used = 0;
  const columns = COLUMNS.filter(({ title }) => title !== 'PROJECT' || rows.some(({ project }) => project));
  const shown = columns.filter((column) => (used += column.width + 1) <= width + 1);
  const line = (cells: string[]): string =>
    cells
      .map((cell, i) => fit(cell, shown[i]!.width))
      .join(' ')
      .trimEnd();
  return [line(shown.map(({ title }) => title)), ...rows.map((row) => line(shown.map(({ cell }) => cell(row, now))))];
}
