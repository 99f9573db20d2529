"""Writes docs/findings.md: every finding, from the same data as ``b2dinspect explain``."""

from __future__ import annotations

from pathlib import Path

from b2dinspect.doctor.explanations import LINKS, SYSTEMS, Explanation, explanations

NAMES = {"linux": "Linux", "macos": "macOS", "windows": "Windows"}


def page() -> str:
    """Return the page."""
    parts = [
        "# Findings\n",
        "What `show` and `doctor` can find, in the order of the chain from the host's key",
        "to the login. An id with `*` stands for a family. Made by `python docs/findings.py`.\n",
    ]
    for link in LINKS:
        parts.append(f"## {link}\n")
        parts += [_entry(item) for item in explanations() if item.link == link]
    return "\n".join(parts)


def _entry(item: Explanation) -> str:
    row = f" (row {item.row})" if item.row else ""
    fixes: dict[str, list[str]] = {}
    for system in SYSTEMS:
        fixes.setdefault(item.fix[system], []).append(NAMES[system])
    lines = [f"### `{item.id}`: {item.title}{row}\n", f"{item.why}\n"]
    for text, systems in fixes.items():
        where = "Fix" if len(fixes) == 1 else f"Fix on {' and '.join(systems)}"
        lines.append(f"- {where}: `{text}`")
    lines.append(f"- Sure: {item.sure}\n")
    return "\n".join(lines)


if __name__ == "__main__":
    Path(__file__).with_suffix(".md").write_text(page(), encoding="utf-8")
