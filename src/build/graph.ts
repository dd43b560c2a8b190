/** Which stages a target needs and what each waits for. Pure: the engine starts a stage when all it needs are done. */
import { invalid } from '../errors.ts';
import { parseError, suggestion } from './dockerfile/errors.ts';
import { isGit, isHttp } from './fetch.ts';
import type { Dockerfile, Stage } from './dockerfile/parse.ts';

export interface StageNode {
  stage: Stage;
  /** Indexes of the stages that must be done before. */
  needs: number[];
}

export interface StageGraph {
  target: number;
  /** Only what the target needs, in the file's order. */
  nodes: StageNode[];
}

/** Where a name in FROM or --from leads: a stage before this one, or something outside the file. */
export function stageNamed(file: Dockerfile, reference: string, before: number): Stage | undefined {
  const name = reference.toLowerCase();
  const earlier = file.stages.slice(0, before);
  const named = earlier.findLast((stage) => stage.name === name);
  if (named || !/^\d+$/.test(name)) return named;
  return earlier[Number(name)];
}

/** The `from` of a RUN mount, if it names one. */
const mountSource = (mount: string): string | undefined => /(?:^|,)from=([^,]+)/.exec(mount)?.[1];

const mountType = (mount: string): string => /(?:^|,)type=([^,]+)/.exec(mount)?.[1] ?? 'bind';

/** References to other stages or images in the steps of a stage. */
export function sourcesOf(stage: Stage): { reference: string; line: number }[] {
  return stage.steps.flatMap((step) => {
    const names =
      step.kind === 'copy' || step.kind === 'add'
        ? [step.from]
        : step.kind === 'run'
          ? step.mounts.map(mountSource)
          : [];
    return names.filter((name) => name !== undefined).map((reference) => ({ reference, line: step.line }));
  });
}

/** Steps of it take files that came with the Dockerfile, as far as the file itself tells: triggers of its base may, too. */
export const takesContext = ({ steps }: Stage): boolean =>
  steps.some((step) => {
    if (step.kind === 'run') return step.mounts.some((mount) => mountType(mount) === 'bind' && !mountSource(mount));
    if (step.kind !== 'copy' && step.kind !== 'add') return false;
    return step.from === undefined && step.sources.some((source) => !isHttp(source) && !isGit(source));
  });

/** A name that only a later stage (or the stage itself) has: a cycle or a wrong order, never an image. */
function refuseLater(file: Dockerfile, reference: string, index: number, line: number): void {
  const later = file.stages.slice(index).find((stage) => stage.name === reference.toLowerCase());
  if (!later) return;
  throw parseError(
    line,
    later.index === index
      ? `circular dependency detected on stage: ${reference}`
      : `stage ${JSON.stringify(reference)} comes later, on line ${later.from.line}: a stage can only use stages before it`,
  );
}

export function findTarget(file: Dockerfile, target: string): number {
  if (!target) return file.stages.length - 1;
  const found = stageNamed(file, target, file.stages.length);
  if (found) return found.index;
  const names = file.stages.flatMap((stage) => stage.name ?? []);
  throw invalid(`target stage "${target}" could not be found${suggestion(target, names)}`, { code: 'target' });
}

/**
 * `resolveFrom` expands a FROM's name with the global ARGs; `outside` are named contexts, which win over stages.
 */
export function stageGraph(
  file: Dockerfile,
  options: { target?: string; resolveFrom?: (image: string) => string; outside?: ReadonlySet<string> } = {},
): StageGraph {
  const outside = options.outside ?? new Set<string>();
  const expand = options.resolveFrom ?? ((image: string) => image);
  const needsOf = (stage: Stage): number[] => {
    const base = { reference: expand(stage.from.image), line: stage.from.line };
    const needs = new Set<number>();
    for (const { reference, line } of [base, ...sourcesOf(stage)]) {
      if (outside.has(reference)) continue;
      const found = stageNamed(file, reference, stage.index);
      if (found) needs.add(found.index);
      // `FROM x AS x` is fine: the stage hides the image it is made of.
      else if (reference !== base.reference) refuseLater(file, reference, stage.index, line);
    }
    return [...needs].sort((a, b) => a - b);
  };
  const target = findTarget(file, options.target ?? '');
  const nodes = new Map<number, StageNode>();
  const visit = (index: number): void => {
    if (nodes.has(index)) return;
    const stage = file.stages[index]!;
    const node = { stage, needs: needsOf(stage) };
    nodes.set(index, node);
    node.needs.forEach(visit);
  };
  visit(target);
  return { target, nodes: [...nodes.values()].sort((a, b) => a.stage.index - b.stage.index) };
}
