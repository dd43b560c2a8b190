/** A process that gets its listening socket from its parent, as from a service manager. */
import { listen } from '../../src/api/server.ts';
import { testApp } from './api-support.ts';

const { app, log, config } = testApp();
const { addresses } = await listen({ app, log, config: { ...config, hosts: ['fd://'] } });
console.log(addresses.join(' '));
