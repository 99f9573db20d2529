"""``b2dinspect tui``: structures on the left, their bytes on the right, and the way between disk and file.

Needs Textual, the extra ``tui``. What is drawn comes from ``annotation`` and ``render.hexdump``.
"""

from __future__ import annotations

from typing import ClassVar

from rich.console import Group
from textual import widgets
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.widgets import Footer, Input, Static, Tree
from textual.widgets.tree import TreeNode

from b2dinspect.errors import B2dError
from b2dinspect.fields import Header
from b2dinspect.findings import Space
from b2dinspect.inspection.facts import Inspection
from b2dinspect.render import hexdump
from b2dinspect.render.terminal import Line, lines
from b2dinspect.render.text import as_text, visible
from b2dinspect.render.text import offset as shown
from b2dinspect.views.annotation import PLACES, Region, all_headers, place, region
from b2dinspect.views.search import find, parse_offset, parse_pattern

LENGTH = 512
HELP = """\
Up, Down, Enter   walk the structures; Enter shows the bytes
Tab               between the structures and the bytes
g                 go to an offset: 0x200, 4096, 1M, 2048s
/                 search for text, or for bytes (0x53ef, or 53 ef); n finds the next one
f                 follow the block map: from the disk to the file, and back
[ and ]           512 bytes back, and on
?                 this help; q ends\
"""
Target = tuple[Space, int, int, str]
"""Space, offset, length and title of what a node shows."""


class Explorer(App[None]):
    """The explorer.

    Attributes:
        region: The bytes that are shown; None before anything is.

    Args:
        facts: The disk.
    """

    TITLE = "b2dinspect"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    Tree { width: 30%; min-width: 24; border-right: solid $primary; }
    VerticalScroll { padding: 0 1; }
    Input { dock: bottom; display: none; }
    Input.-open { display: block; }
    #said { dock: bottom; height: 1; color: $warning; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("g", "ask('offset')", "Go to"),
        Binding("slash", "ask('pattern')", "Search", key_display="/"),
        Binding("n", "next", "Next"),
        Binding("f", "follow", "Disk/file"),
        Binding("left_square_bracket", "step(-1)", "Back", key_display="["),
        Binding("right_square_bracket", "step(1)", "On", key_display="]"),
        Binding("question_mark", "help", "Help", key_display="?"),
        Binding("escape", "close", "Close", show=False),
        Binding("q", "quit", "Quit"),
    ]

    def __init__(self, facts: Inspection) -> None:
        super().__init__()
        self.facts = facts
        self.region: Region | None = None
        self._asked = ""
        self._pattern = b""
        self.sub_title = visible(facts.path)

    def compose(self) -> ComposeResult:
        """Lay out the screen."""
        yield widgets.Header()
        with Horizontal():
            yield Tree(Line(f"{self.facts.container.format}, {self.facts.state}"), id="tree")
            with VerticalScroll(can_focus=True):
                yield Static(id="bytes")
        yield Static(id="said")
        yield Input(id="input")
        yield Footer()

    def on_mount(self) -> None:
        """Fill the tree, and show the first place."""
        tree = self.query_one("#tree", Tree)
        tree.root.expand()
        self._fill(tree.root)
        tree.focus()
        first = next((one for name in PLACES if (one := place(self.facts, name, LENGTH))), None)
        if first is not None:
            self._show(first)

    def _fill(self, root: TreeNode[Target]) -> None:
        places = root.add("places", expand=True)
        for name in PLACES:
            found = place(self.facts, name, LENGTH)
            if found is not None:
                target = (found.space, found.offset, len(found.data), found.title)
                places.add_leaf(Line(name), target)
        structures = root.add("structures", expand=True)
        for header in all_headers(self.facts):
            title = _title(header)
            node = structures.add(Line(title), (header.space, header.offset, len(header.data), title))
            for field in header.fields():
                text = f"{field.name} = {hexdump.value(field.value)}"
                where = (
                    header.space,
                    header.offset + field.offset,
                    max(1, field.size),
                    f"{title}, {field.name}",
                )
                node.add_leaf(Line(text), where)

    def on_tree_node_selected(self, event: Tree.NodeSelected[Target]) -> None:
        """Show what was chosen."""
        if event.node.data is not None:
            space, offset, length, title = event.node.data
            self._go(space, offset, min(length, 64 << 10), title)

    def _go(
        self, space: Space, offset: int, length: int = LENGTH, title: str = "", lit: range = range(0)
    ) -> None:
        try:
            self._show(region(self.facts, space, offset, length, title), lit)
        except B2dError as error:
            self._say(str(error))

    def _show(self, found: Region, lit: range = range(0)) -> None:
        self.region = found
        self.query_one("#bytes", Static).update(Group(*hexdump.dump(found, lit)))
        self.query_one(VerticalScroll).scroll_home(animate=False)
        self._say(f"{found.space} offset {shown(found.offset)}")

    def _say(self, text: str) -> None:
        self.query_one("#said", Static).update(Line(text))

    def action_ask(self, what: str) -> None:
        """Open the line at the bottom."""
        self._asked = what
        line = self.query_one("#input", Input)
        line.placeholder = "offset: 0x200, 4096, 1M, 2048s" if what == "offset" else "text, or bytes: 0x53ef"
        line.value = ""
        line.add_class("-open")
        line.focus()

    def action_close(self) -> None:
        """Close that line."""
        self.query_one("#input", Input).remove_class("-open")
        self.query_one("#tree", Tree).focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Go where the line says."""
        self.action_close()
        try:
            if self._asked == "offset":
                self._go(self._space, parse_offset(event.value))
            else:
                self._pattern = parse_pattern(event.value)
                self._search(0)
        except B2dError as error:
            self._say(str(error))

    @property
    def _space(self) -> Space:
        return self.region.space if self.region else "virtual"

    def _search(self, start: int) -> None:
        space = self._space
        source = self.facts.container if space == "virtual" else self.facts.container.file
        at = find(source, self._pattern, start)
        if at is None:
            self._say("not found" if start == 0 else "no more of it")
        else:
            self._go(space, at // 16 * 16, lit=range(at, at + len(self._pattern)))
            self._say(f"found at {space} offset {shown(at)}")
            self._found = at

    def action_next(self) -> None:
        """Search on."""
        if self._pattern:
            self._search(getattr(self, "_found", -1) + 1)

    def action_step(self, direction: int) -> None:
        """Show the bytes before or behind."""
        if self.region is not None:
            self._go(self.region.space, max(0, self.region.offset + direction * LENGTH))

    def action_follow(self) -> None:
        """Show the same bytes in the file, or on the disk."""
        if self.region is None:
            return
        if self.region.space == "virtual":
            where = self.facts.container.locate(self.region.offset)
            if where is None:
                self._say("the file does not store this byte")
            else:
                self._go("file", where)
            return
        for extent in self.facts.container.extents():
            start = extent.file_offset
            if start is not None and start <= self.region.offset < start + extent.length:
                self._go("virtual", extent.offset + self.region.offset - start)
                return
        self._say("no byte of the disk: this is the container's own")

    def action_help(self) -> None:
        """Show the keys."""
        self.query_one("#bytes", Static).update(lines(*HELP.splitlines()))


def _title(header: Header) -> str:
    """Return a structure's name; a tar has several headers, each of a file."""
    name = next((field.value for field in header.fields() if field.name == "name"), None)
    if header.name.endswith("tar header") and isinstance(name, bytes):
        return f"tar: {as_text(name.rstrip(bytes(1)))}"
    return header.name
