import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { detachScanner, parseDetachKeys } from '../../src/streams/detach-keys.ts';

describe('detach keys', () => {
  it('are read as the CLI writes them', () => {
    expect([...parseDetachKeys('')]).toEqual([16, 17]);
    expect([...parseDetachKeys('ctrl-a,b,ctrl-@,ctrl-],DEL')]).toEqual([1, 98, 0, 29, 127]);
    expect(() => parseDetachKeys('ctrl-11')).toThrow(
      "Invalid detach keys (ctrl-11) provided: Unknown character: 'ctrl-11'",
    );
    expect(() => parseDetachKeys('a,,b')).toThrow(/Unknown character: ''/);
  });

  it('detach wherever the input is cut, and pass everything else on', () => {
    const letters = fc.array(fc.constantFrom(...'pqx'.split('')), { maxLength: 12 });
    fc.assert(
      fc.property(letters, fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 1, maxLength: 5 }), (input, cuts) => {
        const text = input.join('');
        const scan = detachScanner(Buffer.from('pq'));
        let passed = '';
        let detached = false;
        for (let at = 0, turn = 0; at < text.length && !detached; turn++) {
          const end = at + cuts[turn % cuts.length]!;
          const result = scan(Buffer.from(text.slice(at, end)));
          passed += Buffer.from(result.pass).toString();
          detached = result.detached;
          at = end;
        }
        const found = text.indexOf('pq');
        expect(detached).toBe(found >= 0);
        if (found >= 0) expect(passed).toBe(text.slice(0, found));
        else expect(passed).toBe(text.replace(/p$/, ''));
      }),
    );
  });
});
