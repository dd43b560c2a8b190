import type { StateValue } from 'xstate';

/** A state value in a line: `exited`, `starting.preparing`, `running{process: up, health: none}`. */
export function stateText(value: StateValue): string {
  if (typeof value === 'string') return value;
  const regions = Object.entries(value).filter((entry): entry is [string, StateValue] => entry[1] !== undefined);
  if (regions.length === 0) return '';
  if (regions.length === 1) {
    const [key, inner] = regions[0]!;
    const text = stateText(inner);
    return text === '' ? key : text.startsWith('{') ? `${key}${text}` : `${key}.${text}`;
  }
  return `{${regions.map(([key, inner]) => `${key}: ${stateText(inner)}`).join(', ')}}`;
}
