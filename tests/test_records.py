"""Records are what ``typing.NamedTuple`` would have made, in all that the package uses of it."""

from __future__ import annotations

import copy
import pickle
import typing
from collections.abc import Callable
from typing import Any

import pytest

from b2dinspect.records import NamedTuple


class Quick(NamedTuple):
    """A record of ours."""

    one: int
    two: str = "b"
    three: tuple[int, ...] = ()

    @property
    def whole(self) -> str:
        return f"{self.one}{self.two}"


class Plain(typing.NamedTuple):
    """The same by typing."""

    one: int
    two: str = "b"
    three: tuple[int, ...] = ()

    @property
    def whole(self) -> str:
        return f"{self.one}{self.two}"


USES: dict[str, Callable[[Any], object]] = {
    "positions": lambda kind: kind(1, "x", (2,)),
    "names": lambda kind: kind(three=(1,), one=5),
    "defaults": lambda kind: kind(1),
    "repr": lambda kind: repr(kind(1)).replace(kind.__name__, ""),
    "replace": lambda kind: kind(1)._replace(two="c"),
    "asdict": lambda kind: kind(1, "x")._asdict(),
    "property": lambda kind: kind(1).whole,
    "attributes": lambda kind: (kind(1).one, kind(1).two, kind(1).three),
    "copy": lambda kind: copy.deepcopy(kind(1, "x", (2,))),
    "pickle": lambda kind: pickle.loads(pickle.dumps(kind(1, "x"))),
    "hash": lambda kind: hash(kind(1)),
    "fields": lambda kind: (kind._fields, kind._field_defaults, kind.__match_args__),
    "hints": typing.get_type_hints,
    "a class below": lambda kind: type("Below", (kind,), {"four": 4})(1, two="d")[:2],
}
WRONG: dict[str, Callable[[Any], object]] = {
    "nothing": lambda kind: kind(),
    "too many": lambda kind: kind(1, "x", (), 4),
    "unknown": lambda kind: kind(1, four=4),
    "twice": lambda kind: kind(1, one=1),
    "replaces nothing": lambda kind: kind(1)._replace(four=4),
}


@pytest.mark.parametrize("use", USES)
def test_a_record_is_a_named_tuple(use: str) -> None:
    assert USES[use](Quick) == USES[use](Plain)


@pytest.mark.parametrize("use", WRONG)
def test_a_wrong_use_is_refused_by_both(use: str) -> None:
    for kind in (Quick, Plain):
        with pytest.raises((TypeError, ValueError)):
            WRONG[use](kind)


def test_a_record_cannot_be_changed() -> None:
    record: Any = Quick(1)
    with pytest.raises(AttributeError):
        record.one = 2
    with pytest.raises(AttributeError):
        record.four = 4


def test_a_record_is_taken_apart_by_match() -> None:
    match Quick(1, "x"):
        case Quick(one, two=two):
            assert (one, two) == (1, "x")
