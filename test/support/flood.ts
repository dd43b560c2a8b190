/** Many requests at once over a few connections that stay open. */
import { Agent, request } from 'node:http';

export async function flood(socketPath: string, method: string, paths: readonly string[]): Promise<number[]> {
  const agent = new Agent({ keepAlive: true, maxSockets: 16 });
  const one = (path: string): Promise<number> =>
    new Promise((resolve, reject) => {
      const call = request({ socketPath, agent, method, path }, (answer) => {
        answer.resume();
        answer.on('end', () => resolve(answer.statusCode ?? 0));
      });
      call.on('error', reject);
      call.end();
    });
  try {
    return await Promise.all(paths.map(one));
  } finally {
    agent.destroy();
  }
}
