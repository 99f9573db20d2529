"""A program of many commands, each imported when it is called: all would take longer than most of them do."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from b2dinspect import __version__
from b2dinspect.cli.common import sign_as
from b2dinspect.records import NamedTuple

Places = Mapping[str, tuple[str, str]]
"""Of each command its module and function, as ``b2dinspect.cli.show:show``, and the first paragraph of its
help, so that a list of commands imports none of them. In the order of the help."""

STYLE: dict[str, Any] = {
    "rich_markup_mode": "markdown" if sys.stdout and sys.stdout.isatty() else None,  # a pipe needs no rich
    "pretty_exceptions_enable": False,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}


class Family(NamedTuple):
    """Commands that share their first word.

    Attributes:
        places: Its commands.
        help_text: What they are for, with an example.
    """

    places: Places
    help_text: str


class Commands(Mapping[str, Any]):
    """Commands by name, made out of their functions when somebody asks for them."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            module, _, function = self._places[name][0].partition(":")
            self._made[name] = _made(name, getattr(importlib.import_module(module), function))
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def _made(name: str, found: Any) -> Any:
    """Return the command that a function is, or all those of a family."""
    alone = typer.Typer(
        name=name,
        cls=_group(found.places) if isinstance(found, Family) else None,
        add_completion=False,
        no_args_is_help=isinstance(found, Family),
        **STYLE,
    )
    if isinstance(found, Family):
        alone.callback(help=found.help_text)(lambda: None)
    else:
        alone.command(name)(found)
    return get_command(alone)


def _group(places: Places) -> type[TyperGroup]:
    """Return what makes the commands when they are asked for."""

    class Group(TyperGroup):
        def __init__(self, **settings: Any) -> None:
            super().__init__(**settings)
            self.commands = Commands(places)  # type: ignore[assignment]

        def list_commands(self, ctx: object) -> list[str]:
            return list(places)

        def format_help(self, *to: Any) -> None:
            self.commands = {name: TyperCommand(name, short_help=text) for name, (_, text) in places.items()}
            super().format_help(*to)

    return Group


def program(name: str, places: Places, help_text: str) -> typer.Typer:
    """Return a program.

    Args:
        name: What people call it by.
        places: Its commands.
        help_text: What it is for, with an example.
    """
    app = typer.Typer(name=name, cls=_group(places), no_args_is_help=True, **STYLE)
    app.callback(help=help_text)(_options(name))
    return app


def _options(name: str) -> Callable[..., None]:
    """Return what reads the options that stand before a command."""

    def show_version(is_asked: bool) -> None:
        if is_asked:
            print(f"{name} {__version__}")  # noqa: T201
            raise typer.Exit

    def options(version: bool = False) -> None:
        sign_as(name)

    asked = typer.Option("--version", help="Print the version.", callback=show_version, is_eager=True)
    options.__annotations__["version"] = Annotated[bool, asked]
    return options
