"""What a search finds, against what others say of the same bytes."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from b2dinspect.containers.raw.reader import RawContainer
from b2dinspect.errors import UsageError
from b2dinspect.inspection.facts import Inspection
from b2dinspect.inspection.walk import inspect, inspect_disk
from b2dinspect.provisioning.keypair import SAMPLE_KEYS
from b2dinspect.search import scan, stored
from b2dinspect.search.engine import engine_for
from b2dinspect.search.facts import KINDS, Hit, Kind
from b2dinspect.search.kinds import lookers_for
from b2dinspect.search.patterns import parse
from b2dinspect.search.scan import Search, Wanted
from b2dinspect.source import Extent, MemorySource
from b2dinspect.userdata.authorized_keys import parse as parse_keys
from tests.cli.helpers import unpacked
from tests.disks import PUB, TAR, make_ext, needs_disks
from tests.oracles import needs, run
from tests.search.planted import FORMATS, check

MIB = 1 << 20
KEY = (SAMPLE_KEYS / "practice-1").read_bytes()
FINGERPRINT = parse_keys(PUB)[0].key
yara = pytest.importorskip("yara_x", reason="yara-x is not installed (pip install 'b2dinspect[search]')")


def hits_on(facts: Inspection, kinds: Sequence[Kind] = KINDS, *patterns: str) -> list[Hit]:
    search = Search(facts, Wanted(tuple(kinds), tuple(map(parse, patterns))))
    return [*search.hits()]


def hits_in(data: bytes, kinds: Sequence[Kind] = KINDS, *patterns: str) -> list[Hit]:
    return hits_on(inspect_disk(RawContainer(MemorySource(data)), "memory"), kinds, *patterns)


def of(data: bytes, *kinds: Kind) -> list[tuple[int, int, str, str]]:
    """Return offset, length, how sure, and fingerprint of what is found of these kinds."""
    found = [hit.find for hit in hits_in(data, kinds)]
    return [(one.offset, one.length, one.sure, one.fingerprint) for one in found]


# --- recall -----------------------------------------------------------------------------------------------


@needs("qemu-img", "grep")
@pytest.mark.parametrize("name", FORMATS)
def test_what_is_planted_is_found_where_grep_finds_it(name: str, tmp_path: Path) -> None:
    assert check([*FORMATS].index(name) + 1000, name, tmp_path) > 15


@pytest.mark.parametrize("window", [512, 1024, 4096])
def test_a_seam_between_windows_hides_nothing(monkeypatch: pytest.MonkeyPatch, window: int) -> None:
    source = random.Random(window)
    pieces = (PUB, KEY, TAR[1024:3072], b"boot2docker, please format-me", b"pattern", b"rexeg")
    data = bytearray(source.randbytes(64 << 10))
    for number, piece in enumerate(pieces):
        at = (number + 1) * 8192 - source.randrange(1, 40)
        data[at : at + len(piece)] = piece
    wanted = (KINDS, "pattern", "/r[e]xeg/")
    whole = {(hit.find, hit.place) for hit in hits_in(bytes(data), *wanted)}
    assert {find.kind for find, _ in whole} >= {"pattern", "public-key", "private-key", "tar-entry", "marker"}
    monkeypatch.setattr(stored, "WINDOW", window)
    assert {(hit.find, hit.place) for hit in hits_in(bytes(data), *wanted)} == whole


LITERALS = [*dict.fromkeys(one.literal for one in lookers_for(KINDS))]
FRAGMENTS = st.sampled_from([*LITERALS, *(one[:5] for one in LITERALS), b"AAAA", b"aa", b"\0\0\0", b"-----"])


@settings(max_examples=30)
@given(st.lists(FRAGMENTS | st.binary(max_size=6), max_size=60), st.lists(FRAGMENTS, max_size=4))
def test_both_engines_find_the_same(parts: list[bytes], asked: list[bytes]) -> None:
    data = b"".join(parts)
    literals = [*dict.fromkeys((*LITERALS, *asked))]
    assert engine_for(literals, "yara-x").scan(data) == engine_for(literals, "python").scan(data)


def test_an_engine_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "yara_x", None)
    assert engine_for([b"literal"]).name == "python"
    with pytest.raises(UsageError, match=r"pip install 'b2dinspect\[search\]'"):
        engine_for([b"literal"], "yara-x")


# --- keys -------------------------------------------------------------------------------------------------


def test_a_line_is_read_to_its_end() -> None:
    assert FINGERPRINT is not None
    data = bytes(100) + b'from="10.0.0.1" ' + PUB.rstrip() + b" somebody@host\n" + bytes(5000)
    (hit,) = hits_in(data, ("public-key",))
    assert (hit.find.offset, hit.find.sure) == (116, "parsed")
    assert (hit.find.fingerprint, hit.find.comment) == (FINGERPRINT.sha256, "somebody@host")
    assert data[116 : 116 + hit.find.length] == PUB.rstrip() + b" somebody@host"


@pytest.mark.parametrize("kept", [60, 100, 300, 371])
def test_a_line_that_is_cut_is_no_key_any_more(kept: int) -> None:
    ((at, length, sure, fingerprint),) = of(bytes(99) + PUB[:kept] + bytes(999), "public-key")
    assert (at, length, fingerprint) == (99, kept, "")
    assert sure == ("looks-like" if kept < 75 else "likely")


def test_a_line_without_its_first_word_is_still_that_key() -> None:
    assert FINGERPRINT is not None
    data = b"xxx" + PUB[8:]
    assert [(at, sure, told) for at, _, sure, told in of(data, "public-key")] == [
        (3, "likely", FINGERPRINT.sha256)
    ]


@needs("ssh-keygen")
@pytest.mark.parametrize(
    "words",
    [
        ("-t", "rsa", "-b", "1024", "-m", "PEM"),
        ("-t", "rsa", "-b", "1024", "-m", "PKCS8"),
        ("-t", "rsa", "-b", "1024"),
        ("-t", "ecdsa", "-m", "PEM"),
        ("-t", "ecdsa", "-m", "PKCS8"),
        ("-t", "ecdsa", "-b", "521"),
        ("-t", "ed25519"),
        ("-t", "ed25519", "-N", "secret"),
    ],
    ids=" ".join,
)
def test_private_keys_have_the_fingerprint_that_ssh_keygen_prints(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    path = tmp_path / "key"
    run("ssh-keygen", "-q", *(() if "-N" in words else ("-N", "")), *words, "-f", path)
    told = run("ssh-keygen", "-lf", path).stdout.split()[1].decode()
    key = path.read_bytes()
    assert of(bytes(77) + key + bytes(99), "private-key") == [(77, len(key) - 1, "parsed", told)]
    escaped = key.replace(b"\n", b"\\n")
    assert of(bytes(77) + escaped + bytes(99), "private-key")[0][2:] == ("parsed", told)
    public = (tmp_path / "key.pub").read_bytes()
    assert [one[3] for one in of(public, "public-key")] == [told]
    if "PEM" in words or "PKCS8" in words:
        der = subprocess.run(
            ["openssl", "pkey", "-in", path, "-outform", "DER"], capture_output=True, check=True, timeout=60
        ).stdout
        found = {(sure, fingerprint) for _, _, sure, fingerprint in of(bytes(77) + der, "private-key")}
        assert ("parsed", told) in found


def test_a_private_key_that_is_cut_tells_its_public_half() -> None:
    ((at, _, sure, whole),) = of(KEY, "private-key")
    assert (at, sure) == (0, "parsed")
    assert of(KEY[:900] + bytes(600), "private-key") == [(0, 900, "likely", whole)]
    assert of(KEY[:200] + bytes(600), "private-key")[0][2:] == ("looks-like", "")
    assert of(bytes(512) + KEY[900:], "private-key")[0][2:] == ("looks-like", "")


def test_words_of_programs_are_no_keys() -> None:
    words = b"-----BEGIN RSA PRIVATE KEY-----\0-----END RSA PRIVATE KEY-----\0openssh-key-v1\0\0\0"
    assert of(bytes(100) + words + bytes(500), "private-key") == []


def test_a_fingerprint_asks_for_keys() -> None:
    assert FINGERPRINT is not None
    for asked in (FINGERPRINT.sha256, FINGERPRINT.md5):
        found = hits_in(bytes(512) + PUB + KEY, ("pattern",), asked)
        assert [(hit.find.kind, hit.find.offset, hit.find.fingerprint) for hit in found] == [
            ("pattern", 512, FINGERPRINT.sha256)
        ]


# --- patterns ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["SHA256:short", "/(/", "/a*/", "0x0000", "", "a" * 5000])
def test_patterns_that_make_no_sense(text: str) -> None:
    with pytest.raises(UsageError):
        parse(text)


def test_patterns_do_not_overlap_as_with_grep() -> None:
    data = b"x" + b"abab" * 10 + bytes(600)
    offsets = [hit.find.offset for hit in hits_in(data, ("pattern",), "abab")]
    assert offsets == [*range(1, 41, 4)]
    assert [hit.find.offset for hit in hits_in(data, ("pattern",), "/(?:ab)+/")] == [1]


def test_a_pattern_reaches_into_a_hole(tmp_path: Path) -> None:
    path = tmp_path / "disk.raw"
    with path.open("wb") as file:
        file.truncate(3 * MIB)
        file.seek(MIB)
        file.write(b"\x41" * 4095 + b"\x42")
    with inspect(str(path)) as facts:
        found = hits_on(facts, ("pattern",), "0x420000", "0x000041")
    assert [hit.find.offset for hit in found] == [MIB - 2, MIB + 4095]


# --- places -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a disk with a filesystem in which the same word stands in every kind of place."""
    path = tmp_path_factory.mktemp("places") / "disk.raw"
    deep = "/".join("abcdefgh")
    files = {
        "var/lib/boot2docker/userdata.tar": TAR[:4096],
        "var/lib/boot2docker/ssh/ssh_host_ed25519_key.pub": b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBMZ"
        b"qLWzcZwNDGcrJQzJfHGlmDWmBgmFhBcNKGBDYPDv root@boot2docker\n",
        f"{deep}/file": b"WORD in a file",
        **{f"many/{number}": b"x" for number in range(200)},
    }
    make_ext(path, 64 * MIB, files=files)
    return path


@needs_disks
def test_every_place_is_told(crowded: Path) -> None:
    run("debugfs", "-w", "-R", "rm /many/7", crowded)
    blocks = run("debugfs", "-R", "blocks /a/b/c/d/e/f/g/h/file", crowded).stdout.split()
    journal = int(run("debugfs", "-R", "blocks <8>", crowded).stdout.split()[100])
    size = int(run("stat", "-c", "%s", crowded).stdout)
    stats = run("dumpe2fs", "-h", crowded).stdout.decode()
    block = int(next(line for line in stats.splitlines() if line.startswith("Block size")).split()[-1])
    free = size // block - 20
    with crowded.open("r+b") as file:
        for at in (int(blocks[0]) * block + 700, journal * block + 9, free * block + 11):
            file.seek(at)
            file.write(b"WORD")
    with inspect(str(crowded)) as facts:
        found = hits_on(facts, (*KINDS,), "WORD")
        told = {hit.find.offset: hit.place for hit in found if hit.find.kind == "pattern"}
        places = {hit.place.path for hit in found if hit.find.kind == "tar-entry"}
        host = [hit for hit in found if hit.find.kind == "host-key"]
    first = int(blocks[0]) * block
    assert [(told[at].area, told[at].path) for at in (first, first + 700)] == [
        ("file", b"/a/b/c/d/e/f/g/h/file"),
        ("slack", b"/a/b/c/d/e/f/g/h/file"),
    ]
    assert told[journal * block + 9].area == "journal"
    assert told[free * block + 11].area == "unallocated"
    assert places == {b"/var/lib/boot2docker/userdata.tar"}
    assert [hit.place.path for hit in host] == [b"/var/lib/boot2docker/ssh/ssh_host_ed25519_key.pub"]
    assert {hit.place.area for hit in found if hit.find.kind == "superblock"} == {"filesystem"}


def test_a_sample_tells_which_key_is_in_force() -> None:
    with inspect(str(unpacked("key-replaced.vdi"))) as facts:
        found = hits_on(facts)
    keys = [hit for hit in found if hit.find.kind == "public-key"]
    facts_of = [(hit.place.area, hit.in_force, hit.same_as is None) for hit in keys]
    assert facts_of == [
        ("gap", False, True),
        ("gap", False, False),
        ("file", True, True),
        ("file", True, False),
    ]
    by_kind = {hit.find.kind for hit in found}
    assert by_kind == {"marker", "tar-entry", "public-key", "superblock", "swap", "table"}
    swap = next(hit for hit in found if hit.find.kind == "swap")
    assert (swap.place.partition, swap.place.area) == (2, "swap")


# --- what is missing, and what is hostile -----------------------------------------------------------------


class Torn(MemorySource):
    """A source of which some bytes are missing, though it says otherwise."""

    lost = range(8192, 12288)

    def _pread(self, offset: int, length: int) -> bytes:
        from b2dinspect.errors import MissingDataError

        if offset < self.lost.stop and offset + length > self.lost.start:
            raise MissingDataError("gone", offset=offset)
        return super()._pread(offset, length)


def test_what_cannot_be_read_costs_itself() -> None:
    data = bytearray(random.Random(5).randbytes(64 << 10))
    data[: len(TAR)] = TAR
    for at in (7000, 20000):
        data[at : at + 7] = b"pattern"
    facts = inspect_disk(RawContainer(Torn(bytes(data))), "torn")
    search = Search(facts, Wanted(("pattern",), (parse("pattern"),)))
    assert [hit.find.offset for hit in search.hits()] == [7000, 20000]
    assert search.totals.missing == 4096


def test_a_disk_full_of_one_word_is_given_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "MAX_LOOKS", 50)
    facts = inspect_disk(RawContainer(MemorySource(b'"ConfigVersion" ' * 4096)), "full")
    search = Search(facts, Wanted(("config",)))
    assert len([*search.hits()]) == 50
    assert search.totals.left_out == (("config", 4046),)


@settings(max_examples=40)
@given(st.lists(st.sampled_from(LITERALS) | st.binary(max_size=600), max_size=30), st.data())
def test_any_bytes_are_searched(parts: list[bytes], data: st.DataObject) -> None:
    raw = b"".join(parts).ljust(4096, b"\0")
    for hit in hits_in(raw):
        assert 0 <= hit.find.offset < len(raw)
        assert hit.find.length > 0


def test_runs_of_a_sparse_disk() -> None:
    class Sparse(MemorySource):
        def extents(self, offset: int = 0, length: int | None = None):  # type: ignore[no-untyped-def]
            yield Extent(0, 4096, "data", 0)
            yield Extent(4096, 4096, "zero")
            yield Extent(8192, 4096, "data", 8192)
            yield Extent(12288, 2 << 40, "zero")
            yield Extent(2 << 41, 512, "missing")

    walk = stored.Stored(Sparse(b""), lambda _: ())
    assert [(one.start, one.end, one.is_before_zeros) for one in walk.ranges()] == [(0, 12288, True)]
    assert walk.missing == 512
