/** The mount options of an overlay over an image's layers (kernel Documentation/filesystems/overlayfs.rst). */

/** mount(2) takes one page of options, its end included. */
export const OPTIONS_LIMIT = 4095;

export interface Stack {
  /** Top first, as overlayfs wants it. */
  lower: readonly string[];
  upper: string;
  work: string;
}

export function overlayOptions({ lower, upper, work }: Stack): string[] {
  // Both could be on by the kernel's default, and would leave marks in the upper directory that no layer tar can tell.
  return [`lowerdir=${lower.join(':')}`, `upperdir=${upper}`, `workdir=${work}`, 'index=off', 'redirect_dir=off'];
}

/** The same with names relative to `directory`, for a mount made with that as working directory. */
export function relativeStack(stack: Stack, directory: string): Stack {
  const cut = (path: string): string => (path.startsWith(`${directory}/`) ? path.slice(directory.length + 1) : path);
  return { lower: stack.lower.map(cut), upper: cut(stack.upper), work: cut(stack.work) };
}
