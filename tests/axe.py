"""Pages in a real browser: what a script finds there, and what axe finds wrong."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import axe_core_python

from tests.oracles import run

FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking")


def browsed(page: str, asked: str, folder: Path, width: int = 1100) -> Any:
    """Return what a function of JavaScript, given by its body, returns on a page without a complaint."""
    script = (
        f"(async () => {{ {asked} }})().then(found => "
        "{ document.body.textContent = 'FOUND' + JSON.stringify(found) + 'END' })"
    ).replace("</script>", "<\\/script>")
    path = folder / "page.html"
    text = re.sub(r"script-src 'sha256-[^']*'", "script-src 'unsafe-inline' 'unsafe-eval'", page)
    text = text.replace('img-src data:"', "img-src data:; script-src 'unsafe-inline' 'unsafe-eval'\"")
    path.write_text(text.replace("</body>", f"<script>{script}</script></body>"), encoding="utf-8")
    options = (f"--window-size={width},900", "--virtual-time-budget=30000", "--enable-logging=stderr")
    done = run(
        "chromium", *FLAGS, *options, f"--user-data-dir={folder / 'profile'}", "--dump-dom", f"file://{path}"
    )
    assert b"CONSOLE" not in done.stderr, done.stderr
    return json.loads(re.findall(r"FOUND(.*?)END", done.stdout.decode(), re.DOTALL)[-1])


def faults(page: str, folder: Path) -> list[str]:
    """Return the rules that axe finds broken on a page."""
    axe = (Path(axe_core_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
    asked = f"{axe}; return (await axe.run()).violations.map(one => one.id);"
    found: list[str] = browsed(page, asked, folder)
    return found
