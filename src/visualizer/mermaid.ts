/** A statechart as text: Mermaid's stateDiagram-v2, and a tree for terminals. Pure. */
import type { Chart, ChartNode } from './view.ts';

const safe = (id: string): string => id.replace(/[^A-Za-z0-9]/g, '_');

export function mermaid(chart: Chart, active: readonly string[] = []): string {
  const lines = ['stateDiagram-v2'];
  const draw = (node: ChartNode, depth: number): void => {
    const indent = '  '.repeat(depth);
    if (!node.states.length) {
      lines.push(`${indent}state "${node.key}" as ${safe(node.id)}`);
      return;
    }
    lines.push(`${indent}state "${node.key}" as ${safe(node.id)} {`);
    if (node.initial) lines.push(`${indent}  [*] --> ${safe(node.initial)}`);
    node.states.forEach((child, position) => {
      if (node.type === 'parallel' && position > 0) lines.push(`${indent}  --`);
      draw(child, depth + 1);
    });
    lines.push(`${indent}}`);
  };
  if (chart.root.initial) lines.push(`  [*] --> ${safe(chart.root.initial)}`);
  for (const child of chart.root.states) draw(child, 1);
  for (const edge of chart.edges) {
    const label = edge.guard ? `${edge.event} [${edge.guard}]` : edge.event;
    lines.push(`  ${safe(edge.source)} --> ${safe(edge.target)} : ${label.replaceAll(':', '·')}`);
  }
  const leaves = active.filter((id) => !active.some((other) => other !== id && other.startsWith(`${id}.`)));
  if (leaves.length) {
    lines.push('  classDef active fill:#2a9d8f,color:#fff');
    for (const id of leaves) lines.push(`  class ${safe(id)} active`);
  }
  return lines.join('\n');
}

/** The states as a tree, the active ones marked, each with the events that lead out of it. */
export function tree(chart: Chart, active: readonly string[]): string {
  const lines: string[] = [];
  const draw = (node: ChartNode, depth: number): void => {
    const mark = active.includes(node.id) ? '●' : '○';
    const effects = node.effects.length ? `  (${node.effects.join(', ')})` : '';
    lines.push(`${'  '.repeat(depth)}${mark} ${node.key}${effects}`);
    for (const edge of chart.edges.filter(({ source }) => source === node.id)) {
      const target = edge.target.split('.').slice(1).join('.');
      lines.push(`${'  '.repeat(depth)}    ${edge.event}${edge.guard ? ` [${edge.guard}]` : ''} → ${target}`);
    }
    for (const child of node.states) draw(child, depth + 1);
  };
  for (const child of chart.root.states) draw(child, 0);
  return lines.join('\n');
}
