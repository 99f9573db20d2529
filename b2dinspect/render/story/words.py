"""The words of the replay, each in both languages."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from b2dinspect.provisioning.events import Started
from b2dinspect.render.markup import Html

Language = Literal["en", "zh"]


@cache
def _known() -> dict[str, Any]:
    return tomllib.loads(files(__package__).joinpath("words.toml").read_text("utf-8"))


def word(name: str) -> Html:
    """Return a word of the page.

    Raises:
        KeyError: No such word.
    """
    found = _known()["words"][name]
    return _both(found["en"], found["zh"])


def sentence(stage: Started) -> Html:
    """Return what a stage does; in English alone when it is not known."""
    chinese = _known()["stages"].get(stage.id)
    return _both(stage.sentence, chinese) if chinese else Html.of("{}", stage.sentence)


def _both(english: str, chinese: str) -> Html:
    return Html.of('<span lang="en">{}</span><span lang="zh-Hans">{}</span>', english, chinese)
