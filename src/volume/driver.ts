/** What a volume's statechart needs of a driver: the local one, and each plugin behind its socket. */
export interface VolumeDriver {
  readonly name: string;
  readonly scope: 'local' | 'global';
  /** Throws invalid on options it does not know. Changes nothing. */
  validate(options: Readonly<Record<string, string>>): void;
  /** Makes the volume. Idempotent. */
  create(name: string, options: Readonly<Record<string, string>>): Promise<void>;
  /** Idempotent: a missing volume is removed already. */
  remove(name: string, options: Readonly<Record<string, string>>): Promise<void>;
  /** Makes the volume's content reachable for `user` and returns its path on the host. Idempotent per user. */
  mount(name: string, user: string, options: Readonly<Record<string, string>>): Promise<string>;
  /** Undoes `mount` of this user; `last` says nobody else has it. Idempotent. */
  unmount(name: string, user: string, last: boolean, options: Readonly<Record<string, string>>): Promise<void>;
  /** Path on the host, as inspect shows it; '' when it is not known. */
  path(name: string): string;
  /** What the driver says of a volume in inspect. */
  status?(name: string): Promise<Record<string, unknown> | undefined>;
  /** Whether it has the volume already, whoever made it. */
  has?(name: string): Promise<boolean>;
  /** Names of all its volumes, whoever made them. */
  list?(): Promise<string[]>;
}
