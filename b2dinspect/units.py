"""Sizes, times and lists for people."""

from __future__ import annotations

from collections.abc import Sequence


def size(count: int) -> str:
    """Return a number of bytes for people, exact below 10 KiB.

    >>> size(4096), size(20971520000), size(1 << 20)
    ('4096 bytes', '19.5 GiB', '1 MiB')
    """
    if count < 10 << 10:
        return f"{count} bytes"
    power = min((count.bit_length() - 1) // 10, 5)
    unit = ("KiB", "MiB", "GiB", "TiB", "PiB")[power - 1]
    return f"{count / (1 << 10 * power):.1f} {unit}".replace(".0 ", " ")


def listed(names: Sequence[str]) -> str:
    """Return names as a sentence has them.

    >>> listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])
    ('a', 'a and b', 'a, b and c')
    """
    return " and ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)


def moment(seconds: int) -> str:
    """Return seconds since 1970 as a time in UTC; as a number when the calendar does not reach so far.

    >>> moment(1_234_567_890), moment(10**15)
    ('2009-02-13 23:31:30Z', '@1000000000000000')
    """
    from datetime import UTC, datetime  # half of the commands show no time

    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%SZ}"
    except (ValueError, OverflowError, OSError):
        return f"@{seconds}"
