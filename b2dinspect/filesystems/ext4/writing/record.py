"""A structure that can be changed: bytes, and the declarations that name what is in them."""

from __future__ import annotations

from functools import cache

from construct import Struct

from b2dinspect.fields import size_of


class Record:
    """The little-endian numbers and the byte strings of a structure, by name; all else in it stays as it is.

    A number whose halves lie apart, as ``size_lo`` and ``size_hi``, goes by its name without the ending.

    Args:
        data: The bytes. They may end before the declarations do: what is cut off reads as 0.
        layouts: What they are, one declaration behind the other.

    Attributes:
        data: The bytes, changed in place.
    """

    def __init__(self, data: bytes | bytearray, *layouts: Struct) -> None:
        self.data = bytearray(data)
        self._places = _places(layouts)

    def get(self, name: str) -> int:
        """Return a number."""
        if name in self._places:
            return int.from_bytes(self.raw(name), "little")
        low = self.raw(f"{name}_lo")
        high = self.raw(f"{name}_hi") if f"{name}_hi" in self._places else b""
        return int.from_bytes(low + high, "little")

    def raw(self, name: str) -> bytes:
        """Return a byte string, or the bytes of a number."""
        return bytes(self.data[self.place(name)])

    def set(self, **values: int | bytes) -> None:
        """Change numbers and byte strings.

        Raises:
            OverflowError: A number is larger than its field.
        """
        for name, value in values.items():
            if isinstance(value, bytes):
                self._put(name, value.ljust(self._size(name), b"\0"))
            elif name in self._places:
                self._put(name, value.to_bytes(self._size(name), "little"))
            else:
                low = self._size(f"{name}_lo")
                high = self._size(f"{name}_hi") if f"{name}_hi" in self._places else 0
                raw = value.to_bytes(low + high, "little")
                self._put(f"{name}_lo", raw[:low])
                if high:
                    self._put(f"{name}_hi", raw[low:])

    def place(self, name: str) -> slice:
        """Return where a field lies in the bytes."""
        return self._places[name]

    def has(self, name: str) -> bool:
        """Tell whether the bytes reach over a field."""
        return bool(self._places[name].stop <= len(self.data))

    def _size(self, name: str) -> int:
        place = self._places[name]
        return int(place.stop - place.start)

    def _put(self, name: str, raw: bytes) -> None:
        if self.has(name):
            self.data[self._places[name]] = raw
        elif any(raw):
            raise OverflowError(f"there is no {name} in a structure of {len(self.data)} bytes")


@cache
def _places(layouts: tuple[Struct, ...]) -> dict[str, slice]:
    found: dict[str, slice] = {}
    offset = 0
    for layout in layouts:
        for part in layout.subcons:
            found[part.name] = slice(offset, offset + size_of(part))
            offset += size_of(part)
    return found
