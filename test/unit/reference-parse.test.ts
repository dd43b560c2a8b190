import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { canonical, familiar, parseReference, withDefaultTag, withTagOrDigest } from '../../src/image/reference.ts';

const HEX = 'ab'.repeat(32);

describe('references', () => {
  it.each([
    ['busybox', 'docker.io/library/busybox', 'busybox'],
    ['docker.io/library/busybox:1', 'docker.io/library/busybox:1', 'busybox:1'],
    ['index.docker.io/busybox', 'docker.io/library/busybox', 'busybox'],
    ['someone/tool:v1.2_x', 'docker.io/someone/tool:v1.2_x', 'someone/tool:v1.2_x'],
    ['localhost/x', 'localhost/x', 'localhost/x'],
    ['localhost:5000/x', 'localhost:5000/x', 'localhost:5000/x'],
    ['[::1]:5000/a/b:t', '[::1]:5000/a/b:t', '[::1]:5000/a/b:t'],
    ['Registry/x', 'Registry/x', 'Registry/x'],
    ['ghcr.io/a__b/c--d', 'ghcr.io/a__b/c--d', 'ghcr.io/a__b/c--d'],
    [`x:t@sha256:${HEX}`, `docker.io/library/x:t@sha256:${HEX}`, `x:t@sha256:${HEX}`],
  ])('%s means %s', (text, full, short) => {
    const ref = parseReference(text);
    expect(canonical(ref)).toBe(full);
    expect(familiar(ref)).toBe(short);
  });

  it.each([
    ['', 'invalid reference format'],
    ['x:', 'invalid reference format'],
    [':t', 'invalid reference format'],
    ['a//b', 'invalid reference format'],
    ['-x', 'invalid reference format'],
    ['x:tag\n', 'invalid reference format'],
    ['../x', 'invalid reference format'],
    ['x@sha256:abc', 'invalid reference format'],
    ['https://ghcr.io/x', 'invalid reference format'],
    ['Busybox', 'invalid reference format: repository name (library/Busybox) must be lowercase'],
    ['ghcr.io/A', 'invalid reference format: repository name (A) must be lowercase'],
    [HEX, `invalid repository name (${HEX}), cannot specify 64-byte hexadecimal strings`],
    [`x@sha256:${HEX.slice(0, 40)}`, 'invalid checksum digest length'],
    [`x@sha256:${HEX.toUpperCase()}`, 'invalid checksum digest format'],
    [`x@md17:${HEX}`, 'unsupported digest algorithm'],
    [`ghcr.io/${'a'.repeat(256)}`, 'invalid reference format: repository name must not be more than 255 characters'],
  ])('%j is refused', (text, message) => {
    expect(() => parseReference(text)).toThrow(expect.objectContaining({ kind: 'invalid', message }));
  });

  it('takes a digest in the place of a tag', () => {
    const ref = parseReference('x:old');
    expect(canonical(withTagOrDigest(ref, 'new'))).toBe('docker.io/library/x:new');
    expect(canonical(withTagOrDigest(ref, `sha256:${HEX}`))).toBe(`docker.io/library/x@sha256:${HEX}`);
    expect(() => withTagOrDigest(ref, 'a b')).toThrow('invalid tag format');
    expect(canonical(withDefaultTag(parseReference('x')))).toBe('docker.io/library/x:latest');
  });

  it('never changes when what people write is read again', () => {
    const word = fc.stringMatching(/^[a-z0-9]{1,8}$/);
    const text = fc
      .tuple(
        fc.option(fc.constantFrom('localhost:5000', 'ghcr.io', 'docker.io')),
        fc.array(word, { minLength: 1, maxLength: 3 }),
        fc.option(word),
      )
      .map(([domain, path, tag]) => `${domain ? `${domain}/` : ''}${path.join('/')}${tag ? `:${tag}` : ''}`);
    fc.assert(
      fc.property(text, (input) => {
        const ref = parseReference(input);
        expect(parseReference(familiar(ref))).toEqual(ref);
        expect(parseReference(canonical(ref))).toEqual(ref);
      }),
    );
  });
});
