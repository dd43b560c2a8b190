/** Lines that something tells while it runs, as an async iterable that ends, or fails, with it. */
export async function* linesOf(work: (tell: (line: object) => void) => Promise<void>): AsyncGenerator<object> {
  const queue: object[] = [];
  let wake = (): void => {};
  const tell = (line: object): void => {
    queue.push(line);
    wake();
  };
  let ended = false;
  const done = work(tell).finally(() => {
    ended = true;
    wake();
  });
  done.catch(() => {});
  try {
    for (;;) {
      yield* queue.splice(0);
      if (ended) break;
      if (!queue.length) await new Promise<void>((resolve) => (wake = resolve));
    }
    yield* queue.splice(0);
  } finally {
    // Whoever stopped reading must not leave work behind that still uses what is released next.
    await done;
  }
}
