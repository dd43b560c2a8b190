/** Docker's progress lines, as the CLI draws them. */
const WIDTH = 50;

const units = ['B', 'kB', 'MB', 'GB', 'TB'];

/** Decimal units with four significant digits at most: "1.234MB". */
export function humanSize(bytes: number): string {
  let value = bytes;
  let unit = 0;
  for (; value >= 1000 && unit < units.length - 1; unit++) value /= 1000;
  return `${Number(value.toPrecision(4))}${units[unit]}`;
}

export function progressLine(id: string, status: string, current: number, total: number): object {
  const share = total > 0 ? Math.min(current / total, 1) : 1;
  const filled = Math.round(share * WIDTH);
  const bar = filled >= WIDTH ? `${'='.repeat(WIDTH)}>` : `${'='.repeat(filled)}>${' '.repeat(WIDTH - filled)}`;
  return {
    status,
    progressDetail: { current, total },
    progress: `[${bar}]  ${humanSize(current)}/${humanSize(total)}`,
    id,
  };
}
