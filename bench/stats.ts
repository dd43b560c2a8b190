/** Figures of a series and the table that shows them. */
export interface Series {
  median: number;
  p95: number;
  samples: number[];
}

export function series(samples: number[]): Series {
  const sorted = [...samples].sort((a, b) => a - b);
  const at = (share: number): number =>
    sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN;
  return { median: at(0.5), p95: at(0.95), samples };
}

export interface Row {
  case: string;
  unit: string;
  /** True where more is better: rates. */
  rate: boolean;
  goal?: string;
  peers: Record<string, Series>;
}

const figure = (value: number): string =>
  value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);

/** Markdown; the ratio is ours by theirs. */
export function table(rows: Row[], names: string[]): string {
  const peers = names.slice(1);
  const head = [
    'work',
    'unit',
    ...names.map((name) => `${name} (p95)`),
    ...peers.map((peer) => `ratio to ${peer}`),
    'goal',
  ];
  const lines = rows.map((row) => {
    const ours = row.peers[names[0]!];
    const cells = names.map((name) => {
      const found = row.peers[name];
      return found ? `${figure(found.median)} (${figure(found.p95)})` : '–';
    });
    const ratios = peers.map((peer) => {
      const theirs = row.peers[peer];
      return ours && theirs ? `${figure(ours.median / theirs.median)}${row.rate ? ' ×' : ''}` : '–';
    });
    return [row.case, row.unit, ...cells, ...ratios, row.goal ?? ''];
  });
  return [head, head.map(() => '---'), ...lines].map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}
