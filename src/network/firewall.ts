/**
 * Keeps the kernel's nft table equal to what we want. Changes that come together go in one `nft -f`; when one fails,
 * or somebody emptied the table, the whole of it is written again in one transaction.
 */
import type { Logger } from 'pino';
import { runTool } from '../lib/spawn.ts';
import {
  addElements,
  deleteElements,
  type Element,
  type FirewallOptions,
  TABLE,
  wholeTable,
} from './firewall-rules.ts';

const NFT_DEADLINE_MS = 15_000;

export interface Firewall {
  add(elements: Element[]): Promise<void>;
  remove(elements: Element[]): Promise<void>;
  /** Whether all of them are wanted, and in the kernel now. */
  has(elements: readonly Element[]): Promise<boolean>;
  /** At boot, when all is said that must be in the table: writes it. */
  settle(): Promise<void>;
  /** We turned forwarding on in this family: what is not ours must not be forwarded. */
  guard(family: 4 | 6): Promise<void>;
  /** Looks whether the table is as we left it and writes it again if not; true when it had to. */
  repair(): Promise<boolean>;
  /** Removes our table. */
  close(): Promise<void>;
}

/** With --iptables=false: nothing is written; listening sockets pass published ports on. */
export const noFirewall: Firewall = {
  add: async () => {},
  remove: async () => {},
  has: async () => false,
  settle: async () => {},
  guard: async () => {},
  repair: async () => false,
  close: async () => {},
};

const keyOf = (element: Element): string => `${element.set}/${element.key}`;

/** The chain `user` is not ours to judge. */
const withoutUser = (listing: string): string => listing.replace(/\tchain user \{\n[^]*?\n?\t\}\n/, '');

export class NftFirewall implements Firewall {
  #wanted = new Map<string, Element>();
  #adding = new Map<string, Element>();
  #removing = new Map<string, Element>();
  /** Until the first `settle` wishes are only collected; it writes them all in place of what an earlier daemon left. */
  #held = true;
  #whole = true;
  #running: Promise<void> | undefined;
  #next: Promise<void> | undefined;
  #shape = '';
  #options: FirewallOptions;
  #log: Logger;

  constructor(options: FirewallOptions, log: Logger) {
    this.#options = options;
    this.#log = log;
  }

  add(elements: Element[]): Promise<void> {
    if (elements.length === 0) return Promise.resolve();
    for (const element of elements) {
      this.#wanted.set(keyOf(element), element);
      this.#adding.set(keyOf(element), element);
    }
    return this.#flush();
  }

  remove(elements: Element[]): Promise<void> {
    const known = elements.filter((element) => this.#wanted.delete(keyOf(element)));
    if (known.length === 0) return Promise.resolve();
    for (const element of known) {
      // What was never written needs no deletion.
      if (!this.#adding.delete(keyOf(element))) this.#removing.set(keyOf(element), element);
    }
    return this.#flush();
  }

  async has(elements: readonly Element[]): Promise<boolean> {
    if (!elements.every((element) => this.#wanted.get(keyOf(element))?.value === element.value)) return false;
    const found = await Promise.all(elements.map((element) => this.#isWritten(element)));
    return found.every(Boolean);
  }

  #isWritten({ set, key }: Element): Promise<boolean> {
    return runTool('nft', ['get', 'element', ...TABLE.split(' '), set, `{ ${key} }`], {
      deadline: NFT_DEADLINE_MS,
    }).then(
      () => true,
      () => false,
    );
  }

  async settle(): Promise<void> {
    this.#held = false;
    if (this.#whole) await this.#flush();
    await (this.#next ?? this.#running);
  }

  async guard(family: 4 | 6): Promise<void> {
    if (this.#options.guarded.has(family)) return;
    this.#options = { ...this.#options, guarded: new Set([...this.#options.guarded, family]) };
    await this.#rewrite();
  }

  #rewrite(): Promise<void> {
    this.#whole = true;
    return this.#flush();
  }

  async repair(): Promise<boolean> {
    if (this.#running || this.#held) return false;
    const found = await this.#list().catch(() => '');
    if (found === this.#shape || this.#running) return false;
    await this.#rewrite();
    return true;
  }

  async close(): Promise<void> {
    await this.#running?.catch(() => {});
    await runTool('nft', ['-f', '-'], {
      deadline: NFT_DEADLINE_MS,
      input: `add table ${TABLE}\ndelete table ${TABLE}\n`,
    });
    this.#wanted.clear();
  }

  /** One run at a time; whoever comes while one runs shares the next. */
  #flush(): Promise<void> {
    if (this.#held) return Promise.resolve();
    if (!this.#running) return this.#start();
    this.#next ??= this.#running
      .catch(() => {})
      .then(() => {
        this.#next = undefined;
        return this.#start();
      });
    return this.#next;
  }

  #start(): Promise<void> {
    const run = this.#write().finally(() => {
      if (this.#running === run) this.#running = undefined;
    });
    this.#running = run;
    return run;
  }

  async #write(): Promise<void> {
    // Lets the callers of one turn of the loop share the batch.
    await Promise.resolve();
    const adding = [...this.#adding.values()];
    const removing = [...this.#removing.values()];
    const whole = this.#whole;
    this.#adding.clear();
    this.#removing.clear();
    this.#whole = false;
    if (!whole) {
      try {
        return await this.#run(deleteElements(removing) + addElements(adding));
      } catch (error) {
        this.#log.info({ err: error }, 'the nft table is not as it was left; it is written again');
      }
    }
    await this.#writeWhole();
  }

  async #writeWhole(): Promise<void> {
    const text = wholeTable(this.#wanted.values(), this.#options);
    try {
      await this.#run(text);
    } catch {
      // Sets of another version stand in the way: only then the table, with the chain `user`, is made anew.
      await this.#run(`add table ${TABLE}\ndelete table ${TABLE}\n${text}`);
    }
    this.#shape = await this.#list();
  }

  async #run(input: string): Promise<void> {
    if (input) await runTool('nft', ['-f', '-'], { deadline: NFT_DEADLINE_MS, input });
  }

  /** The table without its elements. */
  async #list(): Promise<string> {
    const { stdout } = await runTool('nft', ['-t', 'list', 'table', ...TABLE.split(' ')], {
      deadline: NFT_DEADLINE_MS,
    });
    return withoutUser(stdout);
  }
}
