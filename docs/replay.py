"""``python docs/replay.py`` writes ``docs/site/replay.html``: a provision to be played on the front page."""

from __future__ import annotations

import tempfile
from pathlib import Path

from b2dinspect.notebook import provision

HERE = Path(__file__).parent


def main() -> None:
    """Make a machine in a temporary folder, and keep its replay."""
    with tempfile.TemporaryDirectory() as folder:
        made = provision(folder, seed="docs")
        made.replay().save(HERE / "site" / "replay.html", force=True)


if __name__ == "__main__":
    main()
