/**
 * Named pipes between a shim and us. Opened without blocking (fs.open would park a pool thread until the other side
 * comes) and read through net.Socket, that is by epoll.
 */
import { closeSync, constants, openSync, rmSync } from 'node:fs';
import { Socket } from 'node:net';
import { isErrno, mkfifo, setPipeSize } from '../../host/ffi.ts';
import { PipeOutput } from './output.ts';

/** A container writes this much without a reader before it blocks: a restart of the daemon takes no longer. */
const PIPE_BYTES = 1 << 20;

export function makeFifo(path: string): void {
  try {
    mkfifo(path);
  } catch (error) {
    if (!isErrno(error, 'EEXIST')) throw error;
  }
}

function widen(fd: number): void {
  try {
    setPipeSize(fd, PIPE_BYTES);
  } catch (error) {
    // Over the host's limit for this user: the pipe stays as wide as it is.
    if (!isErrno(error, 'EPERM', 'EBUSY')) throw error;
  }
}

/** The reading end. Ends when every writer that came has gone. */
export function openReader(path: string): PipeOutput {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  widen(fd);
  const output = new PipeOutput(fd);
  output.on('error', () => {});
  return output;
}

/** A reader that never sees an end, for pipes whose writers come and go. */
export function openEndlessReader(path: string): Socket {
  const fd = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
  const socket = new Socket({ fd, readable: true, writable: false });
  socket.on('error', () => {});
  return socket;
}

/** The writing end; opens before the shim's reader is there, and does not fail when it has gone. */
export function openWriter(path: string): Socket {
  const fd = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
  const socket = new Socket({ fd, readable: false, writable: true });
  socket.on('error', () => {});
  return socket;
}

/**
 * Wakes a reader that was opened after the last writer had gone: it would wait for ever, as poll(2) reports the hang-up
 * of writers it has seen only. Nothing that is still in the pipe is lost.
 */
export function wakeReader(path: string): void {
  try {
    closeSync(openSync(path, constants.O_WRONLY | constants.O_NONBLOCK));
  } catch (error) {
    if (!isErrno(error, 'ENXIO', 'ENOENT')) throw error;
  }
}

export const removeFifo = (path: string): void => rmSync(path, { force: true });
