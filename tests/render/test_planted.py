"""Hostile text planted in every field of every fact, through every renderer: nothing of it gets out raw."""

from __future__ import annotations

import ast
import asyncio
import dataclasses
import io
import re
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import pytest

import b2dinspect
from b2dinspect.doctor.diagnosis import diagnose
from b2dinspect.doctor.report import gather
from b2dinspect.fields import Field, Header
from b2dinspect.findings import Finding
from b2dinspect.guests import PROFILES
from b2dinspect.inspection.choice import Candidate, choose_among
from b2dinspect.provisioning import events
from b2dinspect.provisioning.repair.backup import FileChange, Patch
from b2dinspect.provisioning.repair.merge import EntryChange, KeyChange, MergedTar
from b2dinspect.provisioning.story import gather as story_of
from b2dinspect.provisioning.story import recorded
from b2dinspect.render import (
    console,
    diskmap,
    doctor,
    export,
    hexdump,
    html,
    json,
    logs,
    markdown,
    repair,
    stages,
    story,
    svg,
)
from b2dinspect.render.events import event_json
from b2dinspect.render.terminal import Screen
from b2dinspect.render.text import visible
from b2dinspect.views.annotation import Region, Span, overview
from b2dinspect.views.comparison import compare, disk_side
from b2dinspect.views.diskmap import MapPart, draw
from b2dinspect.views.logs import Deleted, Log, Logs
from tests.cli.helpers import unpacked
from tests.incidents import case, incident
from tests.render.test_text import is_hidden

HOSTILE = (
    "\nFORGED \x1b[31m\x9b2J\x07\r\u202e\u2066\u200b\ufeff\u2028\u3164\u2800\u034f\U000e0100\ufe0f\xa0"
    "<img src=x onerror=1>\"' onx='[bold]red[/bold][/]:boom:`|![i](http://evil)\\"
)
RAW = HOSTILE.encode() + b"\xff\xfe\x80"
WIDTH = 2500


# --- planting -----------------------------------------------------------------------------------------------


def planted(value: Any, hint: Any = None) -> Any:  # noqa: C901 - a case for each kind of fact
    """Return a fact with hostile text in all its fields; what mypy holds to our own words is left."""
    if _is_ours(hint):
        return value
    if isinstance(value, str):
        return value + HOSTILE
    if isinstance(value, bytes):
        return RAW + value
    if isinstance(value, Path):
        return Path(str(value) + HOSTILE.replace("/", "_"))
    if isinstance(value, Header):
        return _Header(value)
    if hasattr(value, "_fields"):
        return _tuple(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        hints = _hints(type(value))
        names = [one.name for one in dataclasses.fields(value)]
        return dataclasses.replace(
            value, **{name: planted(getattr(value, name), hints.get(name)) for name in names}
        )
    if isinstance(value, tuple | list):
        return type(value)(planted(item) for item in value)
    if isinstance(value, dict):
        return {name: planted(item) for name, item in value.items()}
    if hasattr(value, "describe"):
        return _Container(value)
    return value


def _is_ours(hint: Any) -> bool:
    return typing.get_origin(hint) is Literal


def _tuple(value: Any) -> Any:
    hints = _hints(type(value))
    return value._replace(**{name: planted(getattr(value, name), hints.get(name)) for name in value._fields})


def _hints(kind: type) -> dict[str, Any]:
    try:
        return typing.get_type_hints(kind)
    except NameError:  # of names that only mypy imports; the annotations themselves say enough
        module = vars(__import__(kind.__module__, fromlist=["_"]))
        found = {}
        for name, text in kind.__annotations__.items():
            word = text.__forward_arg__ if hasattr(text, "__forward_arg__") else text
            found[name] = module.get(word, Literal["ours"] if str(word).startswith("Literal") else None)
        return found


class _Header:
    """A structure whose fields all say hostile things."""

    def __init__(self, header: Header) -> None:
        self._header = header
        self.name = header.name + HOSTILE
        self.space, self.offset, self.data = header.space, header.offset, header.data

    def _replace(self, **given: Any) -> _Header:
        made = _Header(self._header._replace(offset=given.get("offset", self.offset)))
        made.name, made.space = given.get("name", self.name), given.get("space", self.space)
        return made

    def fields(self) -> list[Field]:
        found = []
        for field in self._header.fields():
            value = RAW if isinstance(field.value, bytes) else field.value
            texts = {"meaning": field.meaning + HOSTILE, "doc": field.doc + HOSTILE}
            found.append(field._replace(name=field.name + HOSTILE, value=value, **texts))
        return found


class _Container:
    """A container that describes itself in hostile words."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.format, self.variant = inner.format + HOSTILE, inner.variant + HOSTILE
        self.headers = planted(inner.headers)
        self.findings = planted(inner.findings)

    def describe(self) -> dict[str, str]:
        return {name + HOSTILE: str(found) + HOSTILE for name, found in self._inner.describe().items()}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


# --- the renderers ------------------------------------------------------------------------------------------


def drawn(parts: Any) -> str:
    """Return what rich renderables come to, in every form that they are put out in."""
    parts = list(parts) if isinstance(parts, Iterator | list | tuple) else [parts]
    file = io.StringIO()
    screen = Screen(file=file, width=WIDTH)
    for part in parts:
        screen.print(part)
    pages = [export.plain(parts, WIDTH)]
    markup = [
        export.svg(parts, HOSTILE, WIDTH),
        export.page(parts, HOSTILE, WIDTH),
        export.fragment(parts, WIDTH),
    ]
    for text in markup:
        check_markup(text)
    return "\n".join([file.getvalue(), *pages])


def check_markup(text: str) -> None:
    check(text)
    assert "<img" not in text
    assert not re.search(r"""<[^<>]*onx=""", re.sub(r'"[^"]*"', '""', text))


def check(text: str) -> None:
    strange = {char for char in text if char != "\n" and is_hidden(char)}
    assert not strange, ascii(strange)
    assert not re.search(r"^\W*FORGED", text, re.MULTILINE)


def check_terminal(text: str) -> None:
    check(text)
    assert "[bold]red[/bold][/]" in text, "markup was obeyed"


def check_markdown(text: str) -> None:
    check(text)
    outside = re.sub(r"(?<![`\\])(`+)(?!`).*?(?<!`)\1(?!`)", "", text, flags=re.DOTALL)
    assert "<" not in outside
    assert "](" not in outside.replace("\\]", "")


def check_json(document: dict[str, Any]) -> None:
    assert json.dumps(document).isascii()


@pytest.fixture(scope="module")
def machine() -> Iterator[Any]:
    found = gather(case(incident("snapshot")))
    assert found.diagnosis.case.disk
    yield found
    found.diagnosis.case.close()


@pytest.fixture(scope="module")
def facts() -> Iterator[Any]:
    from b2dinspect.inspection.walk import inspect

    with inspect(str(unpacked("keys-differ.vdi"))) as found:
        yield found


@pytest.fixture(scope="module")
def drawings(facts: Any, machine: Any) -> dict[str, Callable[[], Any]]:
    return screens(facts, machine)


FINDINGS = (
    Finding("some-id", "error", "what", 3, "file", "file"),
    Finding("other-id", "warning", "what else"),
)


def screens(facts: Any, machine: Any) -> dict[str, Callable[[], Any]]:
    """Return every function that draws for a terminal, with all that it takes planted."""
    bad, report = planted(facts), planted(machine)
    with case(incident("key-regenerated")) as opened:
        found = planted(diagnose(opened))
    regions = [planted(one) for one in overview(facts)]
    candidates = [Candidate(facts.container, facts.table, facts.volumes)]
    choices = [(one.name + HOSTILE, HOSTILE, planted(choose_among(one, candidates))) for one in PROFILES]
    change = FileChange(Path("f"), True, 3, 4, 0o644, 0o600, (Patch(0, b"old", b"new"),))
    return {
        "show": lambda: console.show(bad, planted(FINDINGS), True),
        "userdata": lambda: console.userdata(bad),
        "keys": lambda: console.key_list(bad.keys),
        "verify": lambda: console.verification(HOSTILE, bad.container),
        "diff": lambda: console.comparison(planted(compare(disk_side(facts), disk_side(facts)))),
        "ls": lambda: console.listing(planted(names(facts))),
        "hexdump": lambda: [part for one in regions for part in hexdump.dump(one)],
        "map": lambda: diskmap.picture(planted(draw(facts))),
        "logs": lambda: logs.logs(planted(written(facts))),
        "doctor": lambda: doctor.diagnosis(found, [RAW[:16] for _ in found.findings]),
        "doctor of a machine": lambda: doctor.diagnosis(report.diagnosis, report.evidence_bytes),
        "explain": lambda: doctor.explanation(found.findings[0].explanation),
        "explain all": lambda: doctor.explanation_list([one.explanation for one in found.findings]),
        "machines": lambda: doctor.MachineList().part([found, report.diagnosis]),
        "choice": lambda: doctor.choices([HOSTILE], choices),
        "changes": lambda: repair.changes(Planned(), [planted(change)]),  # type: ignore[arg-type]
        "repair": lambda: repair.plan(Planned()),  # type: ignore[arg-type]
        "events": lambda: [stages.event(planted(one)) for one in happened()],
    }


class Planned:
    """As much of a repair as is drawn."""

    changes = ()
    logged_in = True
    is_proven_wrong = False
    certificates = SimpleNamespace(shut_out=(SimpleNamespace(name=HOSTILE),))
    proof = HOSTILE
    left = (
        SimpleNamespace(
            finding=SimpleNamespace(id=f"finding{HOSTILE}"),
            explanation=SimpleNamespace(end=HOSTILE, fix=HOSTILE),
        ),
    )
    merged = planted(
        MergedTar(b"", (KeyChange("kept", "file", "", "line"),), (EntryChange("kept", "name", 1),))
    )

    class Action:
        id, why, how = HOSTILE, HOSTILE, HOSTILE

    actions = (Action(),)


def told() -> events.Decoded:
    part = MapPart("data", "partition", 0, 4096)
    span = Span(0, "header", Field(0, 4, "field", "value", "meaning", "doc"))
    return events.Decoded(8192, (part,), (part,), (Region("title", "virtual", 0, b"abcd", (), (span,)),))


def happened() -> list[events.Event]:
    write = events.Write(0, None, 4, 0, b"abcd")
    return [
        events.Started(1, "id", "host", "does", "command"),
        *(events.Took("in"), events.Gave("out"), events.Console("line")),
        told(),
        events.Done(1, "id", "failed", "reason", 0.1, (write,)),
        events.Serving(("ssh", "host")),
        events.Finished(True, "folder", "disk", "message", ("one",)),
    ]


def names(facts: Any) -> Any:
    from b2dinspect.filesystems.ext4 import Ext4

    files = Ext4(facts.data.volume.source)
    try:
        return files.list(files.find(b"var/lib"))
    finally:
        files.close()


def written(facts: Any) -> Logs:
    log = Log(b"/var/log/boot.log", names(facts)[0], (b"first", b"last"))
    return Logs((log,), (Deleted(b"/var/log/gone", 12),), FINDINGS)


NAMES = (
    *("show", "userdata", "keys", "verify", "diff", "ls", "hexdump", "map", "logs", "doctor"),
    *("doctor of a machine", "explain", "explain all", "machines", "choice", "changes", "repair", "events"),
)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.slow(but=2)
def test_on_a_terminal_and_in_a_notebook(name: str, drawings: dict[str, Callable[[], Any]]) -> None:
    assert set(drawings) == set(NAMES)
    text = drawn(drawings[name]())
    if name == "changes":
        check(text)
    else:
        check_terminal(text)


@pytest.mark.slow
def test_in_documents(facts: Any, machine: Any) -> None:
    bad = planted(machine)
    check_markup(html.page(bad))
    check_markdown(markdown.page(bad))
    check_markup(story.page(story_of(recorded(event_json(planted(one)) for one in happened()))))
    found = planted(draw(facts))
    check_markup(svg.picture(found, HOSTILE))
    check_markup(svg.page(found, HOSTILE))


def test_in_json(facts: Any, machine: Any) -> None:
    bad, report = planted(facts), planted(machine)
    check_json({"headers": json.headers(bad), **json.show(bad, planted(FINDINGS))})
    check_json(json.comparison(planted(compare(disk_side(facts), disk_side(facts)))))
    check_json({"all": [json.directory_entry(one) for one in planted(names(facts))]})
    check_json(hexdump.dump_json(HOSTILE, [planted(one) for one in overview(facts)]))
    check_json(diskmap.picture_json(HOSTILE, planted(draw(facts))))
    check_json(doctor.diagnosis_json(report.diagnosis, report.evidence_bytes))
    for one in happened():
        assert event_json(planted(one)).isascii()


@pytest.mark.slow
def test_in_the_explorer(facts: Any) -> None:
    textual = pytest.importorskip("textual.widgets")
    from b2dinspect.tui import Explorer

    async def look() -> list[str]:
        explorer = Explorer(planted(facts))
        async with explorer.run_test() as pilot:
            await pilot.pause()
            tree = explorer.query_one("#tree", textual.Tree)
            pending, labels = [tree.root], [explorer.sub_title]
            while pending:
                node = pending.pop()
                labels.append(str(node.label))
                pending += node.children
            return labels

    for label in asyncio.run(look()):
        assert "\n" not in label
        check(label)


def test_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    from b2dinspect.cli.common import complain, say

    complain(HOSTILE)
    say(HOSTILE)
    printed = capsys.readouterr()
    for text in (printed.out, printed.err):
        assert text.count("\n") == 1
        check(text)


# --- nobody goes round the one place ------------------------------------------------------------------------

ROOT = Path(b2dinspect.__file__).parent
MODULES = sorted(path for path in ROOT.rglob("*.py") if path.name != "terminal.py")


@pytest.mark.slow
def test_only_the_terminal_module_knows_the_texts_of_rich() -> None:
    """A drawing that fits a console is given one, and makes none."""
    for path in MODULES:
        text = path.read_text()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                assert node.module not in ("rich.text", "rich.table", "rich.markup", "rich"), path
                taken = {alias.name for alias in node.names}
                if node.module == "rich.console" and "Console" in taken:
                    assert "def __rich_console__(self, console: Console" in text, path
                    assert "Console(" not in text, path


@pytest.mark.slow
def test_templates_and_pieces_of_documents_are_literals() -> None:
    """What is formatted first and given as a template would not be quoted."""
    seen = 0
    for path in MODULES:
        tree = ast.parse(path.read_text())
        literals = {
            target.id: node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and _makes_markup(node.func):
                first = node.args[0]
                if isinstance(first, ast.Name):
                    first = literals.get(first.id, first)
                is_constant = isinstance(first, ast.Attribute) and first.attr.isupper()
                assert is_constant or _is_literal(first), (path, node.lineno)
                seen += 1
    assert seen > 50


def _makes_markup(function: ast.expr) -> bool:
    if isinstance(function, ast.Attribute) and function.attr == "of":
        function = function.value
    return isinstance(function, ast.Name) and function.id in ("Html", "Markdown", "Markup")


def _is_literal(node: ast.expr) -> bool:
    if isinstance(node, ast.BinOp):  # "---|" * count
        return _is_literal(node.left) and (_is_literal(node.right) or isinstance(node.op, ast.Mult))
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def test_what_is_hidden_is_shown() -> None:
    assert not any(is_hidden(char) for char in visible(HOSTILE))
