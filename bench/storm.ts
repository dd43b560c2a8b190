/** `storm.ts <name>`: asks the container's resolver for it, many questions at a time for two seconds; prints {rate, p99} of the answers. */
import { createSocket } from 'node:dgram';
import { encode } from 'dns-packet';

const name = process.argv[2]!;
const IN_FLIGHT = 32;
const SECONDS = 2;

const socket = createSocket('udp4');
const question = encode({ type: 'query', id: 0, flags: 0x100, questions: [{ type: 'A', name }] });
const sent = new Map<number, number>();
const times: number[] = [];
const start = performance.now();
let next = 1;

const ask = (): void => {
  const id = next++ & 0xffff;
  const bytes = Buffer.from(question);
  bytes.writeUInt16BE(id, 0);
  sent.set(id, performance.now());
  socket.send(bytes, 53, '127.0.0.11');
};
socket.on('message', (answer) => {
  const id = answer.readUInt16BE(0);
  const asked = sent.get(id);
  if (asked === undefined || answer.readUInt16BE(6) === 0) return;
  sent.delete(id);
  times.push(performance.now() - asked);
  if (performance.now() - start < SECONDS * 1000) ask();
});
for (let i = 0; i < IN_FLIGHT; i++) ask();
setTimeout(
  () => {
    socket.close();
    times.sort((a, b) => a - b);
    console.log(JSON.stringify({ rate: times.length / SECONDS, p99: times[Math.floor(times.length * 0.99)] ?? null }));
  },
  SECONDS * 1000 + 200,
);
