"""``python -m … ANSWER PROGRAM ARGUMENTS``: a program on a terminal of its own, its standard input untouched.

What it writes to the terminal is passed on. When it asks for a password, it gets ANSWER, as from somebody
who types; without one the terminal is hung up. A process of its own, since only one without threads may fork.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time

QUESTION = b"assword:"
PATIENCE = 20.0


def main(answer: str, program: str, *arguments: str) -> int:
    """Run the program, and return its exit status; 255 when it was hung up."""
    stdin = os.dup(0)
    child, terminal = os.forkpty()  # type: ignore[attr-defined, unused-ignore]
    if not child:
        os.dup2(stdin, 0)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup would be inherited
        os.execv(program, [program, *arguments])  # noqa: S606 - no shell is wanted
    shown, end, is_answered = b"", time.monotonic() + PATIENCE, False
    while time.monotonic() < end:
        if not select.select([terminal], [], [], 0.2)[0]:
            continue
        try:
            data = os.read(terminal, 4096)
        except OSError:  # Linux: the other end is closed
            break
        if not data:
            break
        shown += data
        if QUESTION in shown and not is_answered:
            if not answer:
                break
            is_answered = True
            os.write(terminal, answer.encode() + b"\r")
    if not is_answered:
        os.kill(child, signal.SIGHUP)
    os.close(terminal)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    sys.stdout.buffer.write(shown)
    return status if status >= 0 else 255


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
