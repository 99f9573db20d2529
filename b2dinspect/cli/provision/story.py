"""``b2dprovision story``: a provision as a page that plays it again."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from b2dinspect.cli.common import command
from b2dinspect.cli.provision.common import ForceOption
from b2dinspect.errors import UsageError

if TYPE_CHECKING:
    from b2dinspect.newfile import NewFile
    from b2dinspect.provisioning.events import Event

Language = StrEnum("Language", ["en", "zh"])
LanguageOption = Annotated[
    Language | None,
    typer.Option("--language", help="Which the page shows first; by default that of this system."),
]


@command
def story(
    events: Annotated[str, typer.Argument(metavar="EVENTS", help="What run --json printed; - for stdin.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The page to write.")] = Path(
        "story.html"
    ),
    language: LanguageOption = None,
    force: ForceOption = False,
) -> None:
    """Make a page that plays a provision again, stage by stage, out of what it told as JSON.

    Example: b2dprovision run demo --json | b2dprovision story - -o demo.html

    The page loads nothing and needs no network: keep it, mail it, print it.
    """
    from b2dinspect.newfile import NewFile
    from b2dinspect.provisioning.story import recorded

    with NewFile(output, force=force) as file, ExitStack() as held:
        if events == "-":
            lines: Iterable[str] = sys.stdin
        else:
            try:
                lines = held.enter_context(Path(events).open(encoding="utf-8"))
            except FileNotFoundError:
                raise UsageError(f"{events}: no such file") from None
        try:
            _write(file, list(recorded(lines)), language)
        except UnicodeDecodeError:
            raise UsageError(f"{events}: that is no text") from None


class Told:
    """The page that ``run --html`` writes when all is over, however it ended; without a name, none.

    Args:
        path: The page to write.
        language: What it shows first.
        force: Replace one that is there.
    """

    def __init__(self, path: Path | None, language: Language | None, *, force: bool) -> None:
        self._path, self._language, self._force = path, language, force
        self._events: list[Event] = []
        self._file: NewFile | None = None

    def heard(self, events: Iterator[Event]) -> Iterator[Event]:
        """Yield events as they come, and keep them for the page."""
        for happened in events:
            if self._file is not None:
                self._events.append(happened)
            yield happened

    def __enter__(self) -> Told:
        """Claim the page's name, before anything else is made."""
        if self._path is not None:
            from b2dinspect.newfile import NewFile

            self._file = NewFile(self._path, force=self._force)
        return self

    def __exit__(self, *ended: object) -> None:
        """Write what was heard; nothing when there is no story."""
        if self._file is not None:
            try:
                if self._events:
                    _write(self._file, self._events, self._language)
                    self._file.commit()
            finally:
                self._file.discard()


def _write(file: NewFile, events: list[Event], language: Language | None) -> None:
    from b2dinspect.provisioning.story import gather, recorded
    from b2dinspect.render.events import event_json
    from b2dinspect.render.story import page

    found = gather(recorded(map(event_json, events)))  # what is told at once is what is told later
    if not found.scenes:
        raise UsageError("no stage of a provision is told there")
    shown = language.value if language else _of_this_system()
    file.pwrite(0, page(found, "zh" if shown == "zh" else "en").encode("utf-8", "replace"))


def _of_this_system() -> str:
    """Return the language that people here read, of the two."""
    names = ("B2D_LANG", "LC_ALL", "LC_MESSAGES", "LANG")
    told = next((os.environ[name] for name in names if os.environ.get(name)), "")
    return "zh" if told.startswith("zh") else "en"
