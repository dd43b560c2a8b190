"""Runs a command on a terminal, as a person would.

    terminal.py STEPS COMMAND…

STEPS is a JSON list of steps, each {"expect": text} (wait until the output has it, after what was matched before),
{"send": text}, or {"resize": [rows, columns]}. Prints {"output", "code"} when the command has ended.
"""
import fcntl
import json
import os
import pty
import select
import signal
import struct
import sys
import termios
import time

DEADLINE = time.monotonic() + 40


def resize(fd, rows, columns):
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def main():
    steps, command = json.loads(sys.argv[1]), sys.argv[2:]
    pid, fd = pty.fork()
    if pid == 0:
        resize(0, 24, 80)
        os.execvp(command[0], command)
    output, seen = b"", 0

    def read():
        """False at the end of the command."""
        nonlocal output
        ready, _, _ = select.select([fd], [], [], max(0, DEADLINE - time.monotonic()))
        if not ready:
            os.kill(pid, signal.SIGKILL)
            raise SystemExit(f"deadline; the output was: {output.decode(errors='replace')}")
        try:
            chunk = os.read(fd, 65536)
        except OSError:
            return False
        output += chunk
        return bool(chunk)

    for step in steps:
        if "expect" in step:
            wanted = step["expect"].encode()
            while wanted not in output[seen:]:
                if not read():
                    raise SystemExit(f"no {step['expect']!r} in: {output.decode(errors='replace')}")
            seen = output.index(wanted, seen) + len(wanted)
        if "send" in step:
            os.write(fd, step["send"].encode())
        if "resize" in step:
            resize(fd, *step["resize"])
            os.kill(pid, signal.SIGWINCH)
    while read():
        pass
    _, status = os.waitpid(pid, 0)
    print(json.dumps({"output": output.decode(errors="replace"), "code": os.waitstatus_to_exitcode(status)}))


main()
