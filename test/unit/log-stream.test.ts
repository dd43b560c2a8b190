import { expect, it } from 'vitest';
import { journalRecord, textLine } from '../../src/service/log-stream.ts';

const record = JSON.stringify({
  level: 50,
  time: 0,
  container: 'abc',
  hosts: ['fd://'],
  err: { message: 'it broke', stack: 'Error: it broke\n    at here' },
  msg: 'a start failed',
});

it('shows people a line of time, level, message and fields', () => {
  expect(textLine(record)).toBe(
    '1970-01-01T00:00:00.000Z ERROR a start failed container=abc hosts=["fd://"] error="Error: it broke\\n    at here"\n',
  );
});

it('gives the journal the line without its time, a priority, and fields; one of several lines with its length', () => {
  const text = journalRecord(record).toString('latin1');
  expect(text).toContain(
    'MESSAGE=ERROR a start failed container=abc hosts=["fd://"] error="Error: it broke\\n    at here"\n',
  );
  expect(text).toContain(
    '\nPRIORITY=3\nSYSLOG_IDENTIFIER=reactord\nREACTORD_CONTAINER=abc\nREACTORD_HOSTS=["fd://"]\n',
  );
  const stack = 'Error: it broke\n    at here';
  expect(text).toContain(`\nREACTORD_ERROR\n${String.fromCharCode(stack.length)}${'\0'.repeat(7)}${stack}\n`);
});
