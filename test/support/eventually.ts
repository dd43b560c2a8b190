/** Polls a condition until it holds; fails with its last error or value. The one place where tests wait. */
export async function eventually<T>(
  condition: () => T | Promise<T>,
  options: { within?: number; what?: string } = {},
): Promise<NonNullable<T>> {
  const end = Date.now() + (options.within ?? 15_000);
  let last: unknown;
  for (;;) {
    try {
      const value = await condition();
      if (value) return value as NonNullable<T>;
      last = value;
    } catch (error) {
      last = error;
    }
    if (Date.now() > end) {
      const why = last instanceof Error ? last.message : JSON.stringify(last);
      throw new Error(`${options.what ?? 'the condition'} did not come true: ${why}`, { cause: last });
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
