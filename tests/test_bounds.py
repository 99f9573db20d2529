"""Inputs made to take long: work has a budget, and what was not looked at is said."""

from __future__ import annotations

import base64
import io
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rich.console import Console

from b2dinspect.errors import UserdataError
from b2dinspect.evidence.vbox import read_settings
from b2dinspect.inspection.walk import inspect
from b2dinspect.render import console
from b2dinspect.userdata.authorized_keys import MAX_LINE, MAX_LINES, parse
from b2dinspect.userdata.private_key import public_line
from b2dinspect.views.annotation import all_headers
from b2dinspect.views.diskmap import MAX_PIECES, draw
from tests.disks import TAR, look, make_disk, new_path
from tests.fuzz.edits import Content


@contextmanager
def in_time(seconds: float = 8.0) -> Iterator[None]:
    """Fail when the work takes longer: far more than it takes, far less than it took without a budget."""
    began = time.process_time()
    yield
    assert time.process_time() - began < seconds


# --- VirtualBox settings ------------------------------------------------------------------------------------


@pytest.mark.no_cover
def test_settings_with_many_disks_and_many_devices() -> None:
    disks = "".join(f'<HardDisk uuid="m{number:x}"/>' for number in range(30_000))
    devices = '<AttachedDevice type="HardDisk">' + '<Image uuid="none"/>' * 30_000 + "</AttachedDevice>"
    with in_time():
        found = read_settings(Content(f"<V>{disks}{devices}</V>".encode()))
        assert found.live is None
        assert len(found.media) == len(found.attached) == 30_000


@pytest.mark.no_cover
def test_settings_with_a_long_chain_of_snapshots() -> None:
    count = 20_000
    disks = "".join(f'<HardDisk uuid="m{number}">' for number in range(count)) + "</HardDisk>" * count
    device = f'<AttachedDevice type="HardDisk"><Image uuid="m{count - 1}"/></AttachedDevice>'
    with in_time():
        assert len(read_settings(Content(f"<V>{disks}{device}</V>".encode())).stale) == count - 1


def test_the_first_of_two_disks_with_one_uuid_counts() -> None:
    text = '<V><HardDisk uuid="a" location="1"/><HardDisk uuid="a" location="2"/>'
    text += '<AttachedDevice type="HardDisk"><Image uuid="a"/></AttachedDevice></V>'
    live = read_settings(Content(text.encode())).live
    assert live
    assert live.location == "1"


# --- qcow2 tables -------------------------------------------------------------------------------------------


def forged(alternating: bytes, disk_size: int = 1 << 34) -> Path:
    """Make a qcow2 of clusters of 512 bytes whose L1 entries all point to tables full of small pieces."""
    tables = 8192
    header = struct.pack(
        ">4sIQIIQIIQQIIQ", b"QFI\xfb", 2, 0, 0, 9, disk_size, 0, disk_size >> 15, 1024, 512, 1, 0, 0
    )
    l1 = 1024
    first = (l1 + (disk_size >> 15) * 8 + 511) // 512 * 512
    path = new_path("forged.qcow2")
    with path.open("wb") as file:
        file.write(header)
        file.seek(l1)
        for number in range(disk_size >> 15):
            file.write(struct.pack(">Q", first + number % tables * 512))
        file.seek(first)
        file.write(alternating * 32 * tables)
        file.truncate(first + tables * 512)
    return path


@pytest.mark.slow
@pytest.mark.no_cover
def test_tables_of_small_pieces() -> None:
    path = forged(struct.pack(">QQ", 0, 512))
    with in_time(20.0), inspect(str(path)) as facts:
        ids = {finding.id for finding in facts.container.findings}
        found = draw(facts)
    assert "qcow2-tables-cut" in ids
    unseen = found.disk.stored[-1]
    assert unseen.kind == "missing"
    assert unseen.name == f"not looked at: {MAX_PIECES} pieces come before"
    assert unseen.end == facts.container.size


# --- keys ---------------------------------------------------------------------------------------------------


@pytest.mark.no_cover
def test_a_mebibyte_of_newlines() -> None:
    with in_time():
        lines = parse(b"\n" * (1 << 20))
    assert len(lines) == MAX_LINES + 1
    assert lines[-1].kind == "broken"
    assert lines[-1].error.endswith(f"{MAX_LINES} lines are the most")


@pytest.mark.parametrize("count", [MAX_LINES - 1, MAX_LINES, MAX_LINES + 1, MAX_LINES + 5])
@pytest.mark.parametrize("end", [b"", b"\n"])
def test_no_byte_of_a_long_file_is_lost(count: int, end: bytes) -> None:
    text = b"\n".join(b"# %d" % number for number in range(count)) + end
    lines = parse(text)
    assert b"\n".join(line.raw for line in lines) == text.removesuffix(b"\n")
    assert len(lines) == min(count, MAX_LINES + 1)


@pytest.mark.parametrize("piece", [b"A", b'environment="a=b",', b'\\"'], ids=["word", "options", "quotes"])
def test_a_line_of_four_mebibytes(piece: bytes) -> None:
    """It would take seven hundred mebibytes to take it to pieces."""
    line = piece * ((4 << 20) // len(piece)) + b" ssh-rsa AAAA"
    with in_time(1.0):
        (found,) = parse(line)
    assert found.kind == "broken"
    assert found.error.endswith(f"{MAX_LINE} bytes are the most")
    assert found.raw == line


def test_the_longest_line_is_read() -> None:
    start = b'command="'
    line = start + b"a" * (MAX_LINE - len(start) - 1) + b'"'
    assert parse(line)[0].error == "no key after the options"
    assert "are the most" in parse(line + b" ")[0].error


def integer(value: int) -> bytes:
    data = value.to_bytes(value.bit_length() // 8 + 1, "big")
    return b"\x02" + length(len(data)) + data


def length(count: int) -> bytes:
    if count < 0x80:
        return bytes([count])
    data = count.to_bytes(1 + (count > 0xFF), "big")
    return bytes([0x80 + len(data)]) + data


def pem(*numbers: int) -> bytes:
    body = b"".join(integer(number) for number in numbers)
    der = b"\x30" + length(len(body)) + body
    head = b"-----BEGIN RSA PRIVATE KEY-----\n"
    return head + base64.encodebytes(der) + b"-----END RSA PRIVATE KEY-----\n"


def mersenne(p: int, q: int) -> bytes:
    """Return an RSA key of two known primes, 2^p - 1 and 2^q - 1."""
    one, two = (1 << p) - 1, (1 << q) - 1
    d = pow(65537, -1, (one - 1) * (two - 1))
    return pem(0, one * two, 65537, d, one, two, d % (one - 1), d % (two - 1), pow(two, -1, one))


def test_a_key_of_huge_numbers_is_refused_before_anybody_calculates() -> None:
    with in_time(), pytest.raises(UserdataError, match="which no key has"):
        public_line(pem(0, (1 << 41638) - 1, 65537, 3, (1 << 19937) - 1, (1 << 21701) - 1, 3, 3, 3))


def test_a_long_key_is_read_without_proving_its_factors() -> None:
    with in_time():
        assert public_line(mersenne(4423, 9689)).startswith(b"ssh-rsa ")


# --- structures ---------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.no_cover
def test_a_tar_of_a_thousand_entries_shows_some_of_its_headers() -> None:
    facts = look(make_disk(4 << 20, (0, TAR[:1536] + TAR[1024:1536] * 1000)))
    count = len([*all_headers(facts)])
    assert count >= 1000
    file = io.StringIO()
    with in_time(20.0):
        Console(file=file, width=80).print(console.show(facts, (), with_headers=True))
    assert f"and {count - console.MAX_HEADERS} more structures: JSON holds all" in file.getvalue()
