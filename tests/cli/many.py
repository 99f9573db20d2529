"""Many commands one after the other in one process: what traces it starts Python only once.

Lists of words come as JSON on standard input. Each is announced by a look at a path below /dev/null, which
is nowhere, so that a trace tells what follows from it.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys

from b2dinspect.cli.main import app

MARK = "/dev/null/command"


def main() -> None:
    """Run them all, and end with the number of those that could not do what they should."""
    failed = []
    for number, words in enumerate(json.load(sys.stdin)):
        with contextlib.suppress(OSError):
            os.open(f"{MARK}-{number}", os.O_RDONLY)
        try:
            app(words, prog_name="b2dinspect", standalone_mode=False)
        except SystemExit as end:
            if end.code not in (0, 1, None):
                failed.append(words)
    print(failed, file=sys.stderr)  # noqa: T201
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
