"""``python leash.py PROGRAM …``: run a program that ends when whoever started this ends.

Standard input is handed on to the program; when it closes, because its writer was killed for instance, the
program is stopped. Without that, a killed provision would leave QEMU running.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading

GRACE = 5.0


def hand_on(program: subprocess.Popen[bytes]) -> None:
    """Copy standard input to the program until it ends, then stop the program."""
    while data := os.read(0, 4096):
        try:
            os.write(program.stdin.fileno(), data)  # type: ignore[union-attr]
        except OSError:
            return
    program.terminate()
    try:
        program.wait(GRACE)
    except subprocess.TimeoutExpired:
        program.kill()


def main() -> int:
    """Run the program and return its exit status."""
    # the files that whoever started this has opened for the program are handed on
    program = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, close_fds=False)
    threading.Thread(target=hand_on, args=(program,), daemon=True).start()
    try:
        return program.wait()
    except KeyboardInterrupt:  # Ctrl-C reaches the whole group; the one who started us decides what it means
        return program.wait()


if __name__ == "__main__":
    sys.exit(main())
