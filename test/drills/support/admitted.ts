/** Connections of a crowd. */
import { connect, type Socket } from 'node:net';
import { eventually } from '../../support/eventually.ts';

/** A connection. The queue of a listener is short: who finds it full comes again. */
export const admitted = (path: string): Promise<Socket> =>
  eventually(
    () =>
      new Promise<Socket>((resolve, reject) => {
        const socket = connect(path, () => resolve(socket.off('error', reject).on('error', () => {})));
        socket.once('error', reject);
      }),
    { within: 30_000, what: 'a connection' },
  );
