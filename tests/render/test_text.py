"""What becomes of evidence on its way to a terminal."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from b2dinspect.render.text import offset, size, visible

HIDDEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs")
BLANK = "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0"
SELECTORS = "".join(map(chr, (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))))


def is_hidden(char: str) -> bool:
    """Tell whether a character draws nothing or steers what draws it."""
    return char != " " and (unicodedata.category(char) in HIDDEN or char in BLANK + SELECTORS)


any_text = st.text(st.characters(exclude_categories=())) | st.text(
    st.sampled_from("\x1b\r\n\\x\x85\u202e\u2028a")
)
any_bytes = st.binary() | any_text.map(lambda text: text.encode("utf-8", "replace"))


def restored(shown: str) -> str:
    """Undo visible(); a byte that was no UTF-8 comes back as a lone surrogate."""
    names = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\"}

    def one(match: re.Match[str]) -> str:
        short, byte, code = match.groups()
        if short:
            return names[short]
        number = int(byte or code, 16)
        return chr(number + 0xDC00 if byte and number >= 0x80 else number)

    return re.sub(r"\\(?:([nrt\\])|x([0-9a-f]{2})|u\{([0-9a-f]+)\})", one, shown)


@given(any_text | any_bytes)
def test_visible_emits_nothing_that_steers_or_hides(evidence: str | bytes) -> None:
    assert not [char for char in visible(evidence) if is_hidden(char)]


@given(any_bytes)
def test_bytes_can_be_read_back_from_what_is_shown(evidence: bytes) -> None:
    assert restored(visible(evidence)).encode("utf-8", "surrogateescape") == evidence


@given(any_text)
def test_text_can_be_read_back_from_what_is_shown(evidence: str) -> None:
    assert restored(visible(evidence)) == evidence


@pytest.mark.parametrize("char", [*BLANK, *SELECTORS[::16], "\xa0", "\u3000"])
def test_what_draws_nothing_is_shown_as_an_escape(char: str) -> None:
    assert visible(f"a{char}b") == f"a\\u{{{ord(char):x}}}b"


@given(
    st.text(
        st.characters(categories=("L", "N", "P", "S", "M"), exclude_characters=f"\\{BLANK}{SELECTORS}")
        | st.just(" ")
    )
)
def test_plain_text_is_shown_as_it_is(text: str) -> None:
    assert visible(text) == text


@pytest.mark.parametrize(
    ("evidence", "shown"),
    [
        (b"\x1b[31m", r"\x1b[31m"),
        (b"\\x1b", r"\\x1b"),
        (b"\x85", r"\x85"),
        (b"\xc2\x85", r"\u{85}"),
        ("\u202e\u2028", r"\u{202e}\u{2028}"),
        ("\u0430", "\u0430"),
        (b"\0\t\r\n", r"\x00\t\r\n"),
        (b"", ""),
    ],
)
def test_visible_examples(evidence: str | bytes, shown: str) -> None:
    assert visible(evidence) == shown


UNITS = {name: 1 << 10 * power for power, name in enumerate(("bytes", "KiB", "MiB", "GiB", "TiB", "PiB"))}


@given(st.integers(0, 1 << 64))
def test_size_is_right_to_the_last_digit_shown(count: int) -> None:
    number, unit = size(count).split()
    assert abs(float(number) * UNITS[unit] - count) <= (0 if unit == "bytes" else 0.051 * UNITS[unit])
    assert unit == "bytes" or count >= 10 << 10


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 bytes"),
        ((10 << 10) - 1, "10239 bytes"),
        (10 << 10, "10 KiB"),
        (3 << 19, "1.5 MiB"),
        (20000 << 20, "19.5 GiB"),
        (1 << 60, "1024 PiB"),
    ],
)
def test_size_examples(count: int, shown: str) -> None:
    assert size(count) == shown


@given(st.integers(1, 1 << 64))
def test_offset_says_the_same_twice(value: int) -> None:
    hexadecimal, decimal = offset(value).split()
    assert int(hexadecimal, 16) == value
    assert decimal == f"({value})"


def test_offset_without_a_place() -> None:
    assert offset(0) == "0"
    assert offset(None) == "not stored as such"
