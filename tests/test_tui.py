"""The explorer, played by Textual's pilot."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from textual.pilot import Pilot
from textual.widgets import Input, Static, Tree

from b2dinspect.inspection.walk import inspect
from b2dinspect.tui import Explorer
from tests.cli.helpers import unpacked
from tests.opened import keep

Play = Callable[[Explorer, "Pilot[None]"], Awaitable[None]]


def play(path: Path, steps: Play, size: tuple[int, int] = (120, 40)) -> None:
    async def run() -> None:
        app = Explorer(keep(inspect(str(path))))
        async with app.run_test(size=size) as pilot:
            await pilot.pause()
            await steps(app, pilot)

    asyncio.run(run())


def said(app: Explorer) -> str:
    return str(app.query_one("#said", Static).render())


async def type_in(app: Explorer, pilot: Pilot[None], key: str, text: str) -> None:
    await pilot.press(key)
    app.query_one("#input", Input).value = text
    await pilot.press("enter")
    await pilot.pause()


def test_it_begins_with_the_header_and_lists_every_structure() -> None:
    async def steps(app: Explorer, pilot: Pilot[None]) -> None:
        assert app.region is not None
        assert app.region.title == "the vdi header"
        tree = app.query_one("#tree", Tree)
        assert [str(node.label) for node in tree.root.children] == ["places", "structures"]
        names = [str(node.label) for node in tree.root.children[1].children]
        assert "VDI header 1.1" in names
        assert "ext4 superblock" in names

    play(unpacked("provisioned-automount.vdi"), steps)


def test_offsets_and_the_way_to_the_file_and_back() -> None:
    async def steps(app: Explorer, pilot: Pilot[None]) -> None:
        await pilot.press("f")
        await type_in(app, pilot, "g", "2M")
        assert app.region is not None
        assert (app.region.space, app.region.offset) == ("file", 2 << 20)
        await pilot.press("f")
        assert (app.region.space, app.region.offset) == ("virtual", 0)
        assert app.region.data[:11] == b"boot2docker"
        await pilot.press("f")
        assert (app.region.space, app.region.offset) == ("file", 2 << 20)
        await pilot.press("right_square_bracket")
        assert app.region.offset == (2 << 20) + 512
        await pilot.press("left_square_bracket", "left_square_bracket")
        assert app.region.offset == (2 << 20) - 512
        await type_in(app, pilot, "g", "nonsense")
        assert "neither a place nor an offset" in said(app)
        await type_in(app, pilot, "g", "1T")
        assert "outside" in said(app)

    play(unpacked("fresh.vdi"), steps)


def test_search() -> None:
    async def steps(app: Explorer, pilot: Pilot[None]) -> None:
        await type_in(app, pilot, "g", "2M")
        await pilot.press("f")
        await type_in(app, pilot, "slash", "ssh-rsa")
        assert app.region is not None
        assert app.region.space == "virtual"
        assert b"ssh-rsa" in app.region.data
        first = app.region.offset
        await pilot.press("n")
        assert app.region.offset > first
        await type_in(app, pilot, "slash", "no such text anywhere")
        assert said(app) == "not found"
        await type_in(app, pilot, "slash", "")
        assert "can be searched for" in said(app)

    play(unpacked("fresh.vdi"), steps)


def test_a_field_is_shown_when_it_is_chosen_and_help_helps() -> None:
    async def steps(app: Explorer, pilot: Pilot[None]) -> None:
        await pilot.press("down", "down", "down", "enter")
        await pilot.pause()
        assert app.region is not None
        assert app.region.title == "the block map"
        await pilot.press("question_mark")
        assert "follow the block map" in str(app.query_one("#bytes", Static).render())

    play(unpacked("fresh.vdi"), steps)


def test_hostile_text(tmp_path: Path) -> None:
    data = bytearray(unpacked("fresh.vdi").read_bytes())
    data[0x54:0x70] = b"[red]evil[/red] \x1b[2J [@click=]"[:28]
    path = tmp_path / "[bold]x.vdi"
    path.write_bytes(data)

    async def steps(app: Explorer, pilot: Pilot[None]) -> None:
        tree = app.query_one("#tree", Tree)
        labels = [str(leaf.label) for node in tree.root.children[1].children for leaf in node.children]
        assert any("[red]evil[/red]" in label for label in labels)
        assert not any("\x1b" in label for label in labels)
        assert app.sub_title.endswith("[bold]x.vdi")

    play(path, steps, (80, 24))


def test_at_80_columns_no_row_is_broken_and_no_two_nodes_are_alike() -> None:
    async def steps(app: Explorer, pilot: Pilot[None]) -> None:
        await type_in(app, pilot, "g", "2M")
        tree = app.query_one("#tree", Tree)
        names = [str(node.label) for node in tree.root.children[1].children]
        assert len(set(names)) == len(names)
        assert "tar: .ssh/authorized_keys" in names
        strips = app.query_one("#bytes", Static).render_lines(app.query_one("#bytes", Static).size.region)
        shown = [strip.text for strip in strips]
        assert any(line.startswith("00200000  ") and line.rstrip().endswith("........") for line in shown)

    play(unpacked("provisioned-autoformat.vdi"), steps, (80, 24))


def test_what_was_found_is_lit() -> None:
    async def steps(app: Explorer, pilot: Pilot[None]) -> None:
        await pilot.press("f")
        await type_in(app, pilot, "slash", "docker")
        widget = app.query_one("#bytes", Static)
        strips = widget.render_lines(widget.size.region)
        lit = [part.text for strip in strips for part in strip if part.style and part.style.reverse]
        assert "".join(lit).split() == ["64", "6f", "63", "6b", "65", "72", "docker"]

    play(unpacked("fresh.vdi"), steps)
