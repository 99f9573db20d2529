"""``NamedTuple`` as in ``typing``, but quick to declare.

That of ``typing`` compiles each annotation, and a function for each class: an eighth of the start of
``show``, which loads sixty. It makes the records twice as fast, so those made by thousands stay with it.
Type checkers see that of ``typing``.
"""

from __future__ import annotations

from collections import _tuplegetter  # type: ignore[attr-defined]  # in C, with a stand-in where it is missing
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from typing import NamedTuple as NamedTuple
else:

    class _Record(tuple):
        """What all records can do, by the names of ``collections.namedtuple``."""

        __slots__ = ()
        _fields = ()
        _field_defaults = {}  # noqa: RUF012 - an annotation would be a hint of each record

        def __new__(cls, /, *values: Any, **named: Any) -> Self:
            if named or len(values) != len(cls._fields):
                values = _arranged(cls, values, named)
            return tuple.__new__(cls, values)

        def _replace(self, /, **named: Any) -> Self:
            values = [named.pop(name, value) for name, value in zip(self._fields, self, strict=True)]
            return type(self)(*values, **named)

        def _asdict(self) -> dict[str, Any]:
            return dict(zip(self._fields, self, strict=True))

        def __getnewargs__(self) -> tuple[Any, ...]:
            return tuple(self)

        def __repr__(self) -> str:
            told = (f"{name}={value!r}" for name, value in zip(self._fields, self, strict=True))
            return f"{type(self).__name__}({', '.join(told)})"

    class _Declaration(type):
        """Makes a tuple of what a class declares."""

        def __new__(cls, name: str, bases: tuple[type, ...], members: dict[str, Any]) -> type:
            if not bases:
                return type.__new__(cls, name, bases, members)
            fields = tuple(members.get("__annotations__", ()))
            defaults = {field: members.pop(field) for field in fields if field in members}
            members.update((field, _tuplegetter(place, None)) for place, field in enumerate(fields))
            members.update(_fields=fields, _field_defaults=defaults, __match_args__=fields, __slots__=())
            return type.__new__(type, name, (_Record,), members)

    class NamedTuple(metaclass=_Declaration):
        """A class below this one is a tuple whose items have names."""


def _arranged(kind: Any, values: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, ...]:
    """Return the values of a record in order, with its defaults.

    Raises:
        TypeError: There are too few or too many.
    """
    defaults, missing = kind._field_defaults, kind._fields[len(values) :]
    try:
        rest = [named.pop(name) if name in named else defaults[name] for name in missing]
    except KeyError as error:
        raise TypeError(f"{kind.__name__}: no value for {error}") from None
    if named or len(values) > len(kind._fields):
        raise TypeError(f"{kind.__name__}: {[*named] or len(values)} is not among {kind._fields}")
    return (*values, *rest)
