import { describe, expect, it } from 'vitest';
import { parseBootstrap } from '../../src/runtime/shim/launch.ts';

describe('what a shim prints when it started', () => {
  it('is an address, or an object with a version', () => {
    expect(parseBootstrap('unix:///run/containerd/s/ab\n')).toEqual({ socket: '/run/containerd/s/ab', version: 2 });
    const json = '{"version":3,"address":"unix:///run/containerd/s/ab","protocol":"ttrpc"}';
    expect(parseBootstrap(json)).toEqual({ socket: '/run/containerd/s/ab', version: 3 });
  });

  it('is refused when we could not speak to it', () => {
    expect(() => parseBootstrap('')).toThrow(/no unix socket/);
    expect(() => parseBootstrap('{"version":3,"address":"unix:///x","protocol":"grpc"}')).toThrow(/speaks grpc/);
  });
});
