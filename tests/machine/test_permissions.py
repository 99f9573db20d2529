"""Who may read a key on Windows, by what icacls prints there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from b2dinspect.machine.permissions import others

KEY = Path(r"C:\Users\Ann Lee\.docker\machine\machines\default\id_rsa")
END = "\nSuccessfully processed 1 files; Failed processing 0 files\n"


def listing(*entries: str) -> str:
    first, *rest = entries
    return f"{KEY} {first}\n" + "".join(f"{' ' * len(str(KEY))} {one}\n" for one in rest) + END


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        (("NT AUTHORITY\\SYSTEM:(I)(F)", "BUILTIN\\Administrators:(I)(F)", "PC\\ann:(I)(F)"), ()),
        (("PC\\Ann:(R)",), ()),
        (("VORDEFINIERT\\Administratoren:(F)", "NT-AUTORITÄT\\SYSTEM:(F)", "PC\\Ann:(F)"), ()),
        (("BUILTIN\\Users:(I)(RX)", "PC\\Ann:(F)"), ("BUILTIN\\Users",)),
        (("Everyone:(F)",), ("Everyone",)),
        (
            ("NT AUTHORITY\\Authenticated Users:(I)(M)", "PC\\Bob:(R)"),
            ("NT AUTHORITY\\Authenticated Users", "PC\\Bob"),
        ),
        (("Everyone:(DENY)(R)", "PC\\Ann:(F)"), ()),
    ],
)
def test_who_else_may_read_it(entries: tuple[str, ...], expected: tuple[str, ...]) -> None:
    assert others(KEY, "Ann", lambda path: listing(*entries)) == expected


@pytest.mark.parametrize("text", ["", "icacls: no such file", "\0\xff:::(F", "a:(F)(" * 1000])
def test_what_cannot_be_told(text: str) -> None:
    assert others(KEY, "Ann", lambda path: text) == ()


@pytest.mark.skipif(os.name == "nt", reason="asks icacls there")
def test_no_other_system_is_asked() -> None:
    assert others(KEY) == ()
