/** A thread of its own for what is done in namespaces: it goes into them, and waits where the kernel makes it wait, with nobody behind it. */
import { runLinkTask } from './run.ts';
import type { LinkTask } from './steps.ts';

export default (task: LinkTask): unknown => runLinkTask(task);
