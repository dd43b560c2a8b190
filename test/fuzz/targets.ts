import { archiveTargets } from './archives.ts';
import { byteTargets } from './bytes.ts';
import { networkTarget, requestTarget } from './requests.ts';
import type { Target } from './target.ts';
import { textTargets } from './texts.ts';

export const openTargets = async (): Promise<Target[]> => [
  ...textTargets,
  ...byteTargets,
  networkTarget,
  ...archiveTargets(),
  await requestTarget(),
];
