/** What a request carries while it is answered. */
import type { HttpBindings } from '@hono/node-server';
import type { Context, Hono } from 'hono';
import type { Logger } from 'pino';

export interface ApiVariables {
  /** The API version of the request, as "1.51". */
  apiVersion: string;
  /** Fires when the client went away before the answer ended. */
  gone: AbortSignal;
  log: Logger;
  /** Seq of the command fact of this request; 0 for reads. */
  command: number;
}

export interface ApiEnv {
  Bindings: HttpBindings;
  Variables: ApiVariables;
}

/** `api.get('/containers/:name/json', …)`; a name with slashes is `:name{.+}`. HEAD comes in as GET: see `isHead`. */
export type Api = Hono<ApiEnv>;
export type ApiContext = Context<ApiEnv>;
