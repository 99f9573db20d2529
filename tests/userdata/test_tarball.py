"""The userdata tar: written as Go writes it, read as others write it, cut and broken in every way."""

from __future__ import annotations

import io
import os
import random
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from b2dinspect.errors import MissingDataError, UserdataError
from b2dinspect.source import MemorySource
from b2dinspect.userdata.tarball import (
    AUTHORIZED_KEYS,
    AUTHORIZED_KEYS2,
    GUEST_KEEPS,
    MAGIC,
    MAX_ENTRIES,
    Tarball,
    _pax_records,
    build_userdata,
    is_header,
    read_tar,
)
from tests.disks import PUB, PUB4096, TAR, TAR4096
from tests.oracles import needs, run


def read(data: bytes) -> Tarball:
    return read_tar(MemorySource(data))


def ids(tar: Tarball) -> list[str]:
    return [finding.id for finding in tar.findings]


def with_checksum(block: bytes) -> bytes:
    """Return a header with the checksum that its bytes have."""
    blank = block[:148] + b" " * 8 + block[156:512]
    return block[:148] + b"%06o\0 " % sum(blank) + block[156:]


# --- the writer -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("pub", "golden"), [(PUB, TAR), (PUB4096, TAR4096)], ids=["rsa2048", "rsa4096"])
def test_writes_what_go_writes(pub: bytes, golden: bytes) -> None:
    assert build_userdata(pub) == golden


@needs("tar")
@pytest.mark.parametrize("pub", [b"", b"x", b"y" * 511, b"z" * 512, b"w" * 513, PUB])
def test_gnu_tar_reads_what_is_written(pub: bytes, tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(build_userdata(pub))
    listing = run("tar", "-tvf", tmp_path / "t", "--numeric-owner").stdout.decode().splitlines()
    assert [line.split()[0] for line in listing] == ["----------", "drwx------", "-rw-r--r--", "-rw-r--r--"]
    assert all("0/0" in line and "1970-01-01" in line for line in listing)
    run("tar", "-xf", tmp_path / "t", "-C", tmp_path)
    assert (tmp_path / ".ssh" / "authorized_keys").read_bytes() == pub
    assert (tmp_path / ".ssh" / "authorized_keys2").read_bytes() == pub
    assert (tmp_path / MAGIC.decode()).read_bytes() == MAGIC


def test_a_key_file_that_no_header_can_say_is_refused() -> None:
    class Huge(bytes):
        def __len__(self) -> int:
            return 8**11

    with pytest.raises(UserdataError, match="too large"):
        build_userdata(Huge())


# --- the reader, and tars of others ---------------------------------------------------------------------


def test_the_golden_tar_entry_by_entry() -> None:
    tar = read(TAR)
    assert [(e.name, e.type, e.mode, e.size, e.header_offset, e.offset) for e in tar.entries] == [
        (MAGIC, "file", 0, 29, 0, 512),
        (b".ssh", "directory", 0o700, 0, 1024, 1536),
        (AUTHORIZED_KEYS, "file", 0o644, len(PUB), 1536, 2048),
        (AUTHORIZED_KEYS2, "file", 0o644, len(PUB), 2560, 3072),
    ]
    assert (tar.size, tar.trailer, tar.findings, tar.truncated) == (4608, "two zero blocks", (), False)
    assert [header.offset for header in tar.headers] == [0, 1024, 1536, 2560]


def make_tree(folder: Path) -> dict[bytes, bytes]:
    """Make files with names and contents that tars write in special ways."""
    files = {
        b"plain": b"content",
        b"empty": b"",
        b"block": b"b" * 512,
        b"deep/" * 10 + b"file": b"inner",
        b"n" * 99: b"99",
        b"o" * 100: b"100",
        b"p" * 101: b"101",
        (b"q" * 90 + b"/") * 2 + b"r" * 90: b"prefix",
        b"s" * 200: b"200",
        "größe".encode(): b"utf-8",
    }
    for name, content in files.items():
        place = folder / os.fsdecode(name)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        os.utime(place, (1234567890, 1234567890))
    (folder / "link").symlink_to("t" * 150)
    os.link(folder / "plain", folder / "plainer")
    os.mkfifo(folder / "pipe")
    return files


TARS = {
    "gnu": ["tar", "--format=gnu", "-cf", "-", "-C"],
    "oldgnu": ["tar", "--format=oldgnu", "-cf", "-", "-C"],
    "posix": ["tar", "--format=posix", "-cf", "-", "-C"],
    "busybox": ["busybox", "tar", "-cf", "-", "-C"],
}


def python_tar(folder: Path, kind: int) -> bytes:
    result = io.BytesIO()
    with tarfile.open(fileobj=result, mode="w", format=kind) as tar:
        tar.add(folder, "./")
    return result.getvalue()


def check_tree(tar: Tarball, data: bytes, folder: Path, files: dict[bytes, bytes]) -> None:
    assert tar.findings == ()
    assert tar.trailer == "two zero blocks"
    for name, content in files.items():
        entry = tar.find(name)
        if entry is None:  # the second name of one file
            links = {e.name.removeprefix(b"./"): e for e in tar.entries if e.type == "hardlink"}
            assert name in links
            continue
        assert data[entry.offset : entry.offset + entry.size] == content
        assert entry.mode == (folder / os.fsdecode(name)).stat().st_mode & 0o7777
        assert entry.mtime == int((folder / os.fsdecode(name)).stat().st_mtime)
    (link,) = [entry for entry in tar.entries if entry.type == "symlink"]
    assert link.linkname == b"t" * 150
    assert [entry.name.removeprefix(b"./") for entry in tar.entries if entry.type == "fifo"] == [b"pipe"]


@pytest.mark.parametrize("name", [pytest.param(name, marks=needs(TARS[name][0])) for name in TARS])
def test_reads_tars_of_other_programs(name: str, tmp_path: Path) -> None:
    files = make_tree(tmp_path)
    data = run(*TARS[name], tmp_path, ".").stdout
    check_tree(read(data), data, tmp_path, files)


@pytest.mark.parametrize("kind", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_reads_tars_of_python(kind: int, tmp_path: Path) -> None:
    files = make_tree(tmp_path)
    data = python_tar(tmp_path, kind)
    check_tree(read(data), data, tmp_path, files)


@needs("tar")
@pytest.mark.parametrize("form", ["ustar", "v7"])
def test_reads_the_older_formats(form: str, tmp_path: Path) -> None:
    name = "d" * 90 + "/" + "e" * 90 if form == "ustar" else "d" * 90
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(b"content")
    data = run("tar", f"--format={form}", "-cf", "-", "-C", tmp_path, name).stdout
    entry = read(data).find(name.encode())
    assert entry is not None
    assert data[entry.offset : entry.offset + entry.size] == b"content"
    assert entry.uid == os.getuid()


@needs("tar")
def test_finds_the_entry_that_extracting_would_leave(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / ".ssh").mkdir(parents=True)
        (tmp_path / name / ".ssh" / "authorized_keys").write_text(name)
    first = run("tar", "-cf", "-", "-C", tmp_path / "one", ".ssh/authorized_keys").stdout
    (tmp_path / "t").write_bytes(first)
    run("tar", "-rf", tmp_path / "t", "-C", tmp_path / "two", "./.ssh/authorized_keys")
    data = (tmp_path / "t").read_bytes()
    entry = read(data).find(AUTHORIZED_KEYS)
    assert entry is not None
    run("tar", "-xf", tmp_path / "t", "-C", tmp_path)
    extracted = (tmp_path / ".ssh" / "authorized_keys").read_bytes()
    assert data[entry.offset : entry.offset + entry.size] == extracted == b"two"


def test_a_directory_of_that_name_is_not_the_file() -> None:
    block = bytearray(TAR[1536:2048])
    block[156] = ord("5")
    assert read(TAR[:1536] + with_checksum(bytes(block)) + bytes(1024)).find(AUTHORIZED_KEYS) is None


# --- cut tars: facts.md, the 4096-byte cut --------------------------------------------------------------


def test_the_guest_cuts_only_a_zero_block_off_rsa2048() -> None:
    tar = read(TAR[:GUEST_KEEPS])
    assert len(tar.entries) == 4
    assert (tar.trailer, tar.truncated, tar.size) == ("a lone zero block", False, 4096)


def test_the_guest_cuts_authorized_keys2_of_rsa4096() -> None:
    tar = read(TAR4096[:GUEST_KEEPS])
    first, second = tar.find(AUTHORIZED_KEYS), tar.find(AUTHORIZED_KEYS2)
    assert first is not None
    assert second is not None
    assert (first.missing, second.offset, second.available, second.missing) == (0, 3584, 512, 733 - 512)
    assert (tar.trailer, tar.truncated) == ("none", True)


@needs("tar", "busybox")
@pytest.mark.parametrize(
    ("tar", "gnu", "busybox"), [(TAR, 0, 0), (TAR4096, 2, 1)], ids=["rsa2048", "rsa4096"]
)
def test_what_tar_makes_of_the_cut(tar: bytes, gnu: int, busybox: int, tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(tar[:GUEST_KEEPS])
    for program, status in ((["tar"], gnu), (["busybox", "tar"], busybox)):
        out = tmp_path / program[0]
        out.mkdir()
        done = subprocess.run(
            [*program, "xf", tmp_path / "t", "-C", out],
            capture_output=True,
            env={**os.environ, "LC_ALL": "C"},
        )
        assert done.returncode == status
        if program == ["tar"]:
            assert (b"A lone zero block at 8" in done.stderr) == (status == 0)
        assert (out / ".ssh" / "authorized_keys").read_bytes() in (PUB, PUB4096)
    read_entry = read(tar[:GUEST_KEEPS]).find(AUTHORIZED_KEYS2)
    assert read_entry is not None
    assert bool(read_entry.missing) == (gnu != 0)


CUTS = [*range(0, len(TAR4096), 512), *range(1, len(TAR4096), 317), len(TAR4096) - 1]


@pytest.mark.parametrize("length", CUTS)
def test_cut_anywhere(length: int) -> None:
    whole, tar = read(TAR4096), read(TAR4096[:length])
    there = [entry for entry in whole.entries if entry.offset <= length]
    assert [entry.name for entry in tar.entries] == [entry.name for entry in there]
    for entry, cut in zip(there, tar.entries, strict=True):
        assert cut.size == entry.size
        assert cut.missing == max(0, entry.offset + entry.size - length)
    last = whole.entries[-1]
    assert tar.truncated == (length < last.offset + 1024 + 512)  # its content, and one zero block
    in_header = any(e.header_offset < length < e.offset for e in whole.entries)
    assert ids(tar) == (["tar-header-cut"] if in_header else [])
    assert tar.size <= length


def test_trailers() -> None:
    body = TAR[:3584]
    assert read(body).trailer == "none"
    assert read(body + bytes(512)).trailer == "a lone zero block"
    assert read(body + bytes(512) + b"x" * 512).trailer == "a lone zero block"
    assert read(body + bytes(1024) + b"x" * 512).size == 4608


# --- one fault ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [0, 99, 100, 124, 148, 156, 257, 345, 511])
def test_a_changed_header_byte_fails_the_checksum(place: int) -> None:
    data = bytearray(TAR)
    data[1536 + place] ^= 0x01
    tar = read(bytes(data))
    assert [(finding.id, finding.severity, finding.offset) for finding in tar.findings] == [
        ("tar-checksum", "error", 1536)
    ]
    assert len(tar.entries) == 2
    assert not is_header(bytes(data[1536:2048]))
    assert is_header(TAR[1536:2048])


@pytest.mark.parametrize("field", [b"garbage!", b"        ", bytes(8), b"-000012\0"])
def test_a_checksum_that_is_no_number(field: bytes) -> None:
    (finding,) = read(field.join((TAR[:148], TAR[156:]))).findings
    assert "no octal number" in finding.message


def changed_size(field: bytes) -> bytes:
    """Return the tar with another size field in the header of authorized_keys."""
    header = TAR[1536 : 1536 + 124] + field.ljust(12, b"\0") + TAR[1536 + 136 : 2048]
    return TAR[:1536] + with_checksum(header) + TAR[2048:]


def test_a_size_that_is_no_number_is_zero() -> None:
    tar = read(changed_size(b"12345678x90"))
    assert ids(tar)[0] == "tar-number"
    assert tar.entries[2].size == 0


@pytest.mark.parametrize(
    ("field", "size"),
    [
        (b"00000000007", 7),
        (b"          7 ", 7),
        (b"7", 7),
        (b"77777777777", 8**11 - 1),
        (b"777777777777", 8**12 - 1),
        (b"\x80" + (7).to_bytes(11, "big"), 7),
        (b"\x80" + (1 << 63).to_bytes(11, "big"), 1 << 63),
        (b"\x80" + b"\xff" * 11, 1 << 63),
        (b"\xff" * 12, 1 << 63),
    ],
)
def test_sizes(field: bytes, size: int) -> None:
    entry = read(changed_size(field)).entries[2]
    assert entry.size == size
    assert entry.available == min(size, len(TAR) - 2048)
    assert entry.missing == size - entry.available


@needs("tar")
def test_base_256_numbers_of_gnu_tar(tmp_path: Path) -> None:
    with (tmp_path / "big").open("wb") as file:
        file.truncate(9 << 30)
    command = ["tar", "--format=gnu", "--owner=:3000000", "-cf", "-", "-C", tmp_path, "big"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        header = process.stdout.read(1024)
        process.kill()
    (entry,) = read(header).entries
    assert (entry.size, entry.available, entry.uid) == (9 << 30, 512, 3_000_000)


def test_an_unknown_type_is_told() -> None:
    header = bytearray(TAR[:512])
    header[156] = 0x1B
    assert read(with_checksum(bytes(header))).entries[0].type == "type \\x1b"


def pax(*records: bytes) -> bytes:
    """Return a pax header with these records, and a file after it."""
    content = b"".join(records)
    header = bytearray(TAR[:512])
    header[124:136] = b"%011o\0" % len(content)
    header[156:157] = b"x"
    padded = content.ljust(-(-len(content) // 512) * 512, b"\0")
    return with_checksum(bytes(header)) + padded + TAR[1024:1536]


@pytest.mark.parametrize(
    ("records", "name"),
    [
        ([b"12 path=abc\n"], b"abc"),
        ([b"11 mtime=1\n", b"12 path=abc\n"], b"abc"),
        ([b"12 path=abc\n", b"12 path=xyz\n"], b"xyz"),
        ([b"999999 path=abc\n"], b".ssh"),
        ([b"0 path=abc\n"], b".ssh"),
        ([b"1 path=abc\n"], b".ssh"),
        ([b"x path=abc\n"], b".ssh"),
        ([b"11 path=abc"], b"ab"),  # the last byte is taken for the line feed
        ([b""], b".ssh"),
    ],
)
def test_pax_records_sound_and_broken(records: list[bytes], name: bytes) -> None:
    assert read(pax(*records)).entries[0].name == name


def test_many_small_pax_records_take_linear_work() -> None:
    """A quadratic reader would copy gigabytes here; this one must touch each byte a few times."""

    class Counted(bytes):
        copied = 0

        def __getitem__(self, key: object) -> object:
            piece = bytes.__getitem__(self, key)  # type: ignore[index]
            if isinstance(piece, bytes):
                Counted.copied += len(piece)
                return Counted(piece)
            return piece

    content = Counted(b"6 a=b\n" * 10_000)
    assert _pax_records(content) == {}
    assert Counted.copied < 20 * len(content)


def test_bytes_that_are_missing_end_the_tar() -> None:
    class Holed(MemorySource):
        def _pread(self, offset: int, length: int) -> bytes:
            if offset + length > 1536:
                raise MissingDataError("gone")
            return super()._pread(offset, length)

    tar = read_tar(Holed(TAR))
    assert [entry.name for entry in tar.entries] == [MAGIC, b".ssh"]
    assert tar.trailer == "none"


def test_more_entries_than_anybody_wants() -> None:
    assert ids(read(TAR[1024:1536] * (MAX_ENTRIES - 1) + bytes(1024))) == []
    tar = read(TAR[1024:1536] * (MAX_ENTRIES + 1))
    assert len(tar.entries) == MAX_ENTRIES
    assert ids(tar) == ["tar-long"]


# --- any bytes ------------------------------------------------------------------------------------------


def check_sound(tar: Tarball, size: int) -> None:
    assert 0 <= tar.size <= size
    position = 0
    for entry in tar.entries:
        assert position <= entry.header_offset
        assert entry.header_offset + 512 <= entry.offset <= size
        assert 0 <= entry.available <= entry.size
        assert entry.offset + entry.available <= size
        position = entry.offset
    for finding in tar.findings:
        assert finding.offset is not None
        assert 0 <= finding.offset <= size


@given(st.binary(max_size=2048))
@example(b"\0" * 511)
def test_any_bytes_at_all(data: bytes) -> None:
    check_sound(read(data), len(data))


@given(st.lists(st.binary(min_size=512, max_size=512), max_size=6), st.integers(0, 3000))
def test_any_headers_with_right_checksums(blocks: list[bytes], length: int) -> None:
    data = b"".join(with_checksum(block) for block in blocks)[: 512 * 6 - length]
    check_sound(read(data), len(data))


@pytest.mark.slow
def test_golden_tars_with_random_faults_and_right_checksums() -> None:
    dice = random.Random(3)
    seen = set()
    for _ in range(2000):
        data = bytearray(dice.choice((TAR, TAR4096)))
        header = dice.choice((0, 1024, 1536))
        for _ in range(dice.randrange(1, 4)):
            data[header + dice.randrange(512)] = dice.choice((0, 0x80, 0xFF, ord("L"), dice.randrange(256)))
        data[header : header + 512] = with_checksum(bytes(data[header : header + 512]))
        tar = read(bytes(data[: dice.randrange(len(data))]))
        check_sound(tar, len(data))
        seen |= {*ids(tar)}
    assert {"tar-number", "tar-header-cut", "tar-checksum"} <= seen
