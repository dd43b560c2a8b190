/** The programs beside the daemon, each loaded only when asked for. Returns the exit code. */
type Command = (args: string[]) => Promise<number>;

const COMMANDS: Record<string, () => Promise<Command>> = {
  fsck: async () => (await import('./fsck.ts')).fsck,
  explain: async () => (await import('./explain.ts')).explain,
  chart: async () => (await import('./explain.ts')).chart,
  monitor: async () => (await import('./monitor.ts')).monitor,
  ui: async () => (await import('./ui.ts')).ui,
};

export const isCommand = (name: string | undefined): name is string => name !== undefined && name in COMMANDS;

export async function runCommand(name: string, args: string[]): Promise<number> {
  try {
    const command = await COMMANDS[name]!();
    return await command(args);
  } catch (error) {
    process.stderr.write(`reactord ${name}: ${(error as Error).message}\n`);
    return 1;
  }
}
