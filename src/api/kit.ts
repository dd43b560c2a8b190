/** What route files use to read requests and answer them. */
import type { Duplex, Writable } from 'node:stream';
import type { HttpBindings } from '@hono/node-server';
import type { Context, Hono } from 'hono';

export interface ApiVariables {
  /** The API version of the request, as "1.51". */
  apiVersion: string;
  /** Fires when the client went away before the answer ended. */
  gone: AbortSignal;
  /** Seq of the command fact of this request. */
  command: number;
}

export interface ApiEnv {
  Bindings: HttpBindings;
  Variables: ApiVariables;
}

/** Routes are written without the version prefix: `api.get('/containers/:name/json', …)`. */
export type Api = Hono<ApiEnv>;
export type ApiContext = Context<ApiEnv>;

export type { Duplex, Writable };
