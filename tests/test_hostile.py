"""Hostile disks: whatever their bytes, only a B2dError comes out, and nothing of them is obeyed."""

from __future__ import annotations

import functools
import io
import json as stdlib_json
import random
import subprocess
import sys
import unicodedata
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from rich.console import Console

from b2dinspect.containers.vdi.reader import VdiContainer
from b2dinspect.doctor.disk import examine
from b2dinspect.errors import B2dError
from b2dinspect.filesystems import sleuthkit
from b2dinspect.filesystems.superblock import SUPERBLOCK
from b2dinspect.findings import Finding
from b2dinspect.inspection.facts import Inspection
from b2dinspect.render import console, json
from b2dinspect.render.text import visible
from b2dinspect.userdata.tarball import MAX_ENTRIES, build_userdata, read_tar
from b2dinspect.views.comparison import compare, disk_side, within_disk
from tests.disks import (
    DATA_START,
    MIB,
    MINIKUBE_START,
    OLD_DATA_START,
    OLD_SWAP_START,
    PUB,
    SWAP_START,
    TAR,
    TAR4096,
    Patch,
    as_vdi,
    fresh,
    look,
    make_disk,
    needs_disks,
    new_path,
    open_file,
    provision,
    provisioned,
)
from tests.oracles import PATIENCE, needs
from tests.userdata.test_tarball import with_checksum

HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def print_all(facts: Inspection, findings: Sequence[Finding], with_headers: bool = True) -> str:
    """Render everything that there is of a disk, to one text."""
    document = json.show(facts, findings)
    document["headers"] = json.headers(facts)
    printed = json.dumps(document)
    assert stdlib_json.loads(printed)["state"] == facts.state
    file = io.StringIO()
    screen = Console(file=file, width=200)
    screen.print(console.show(facts, findings, with_headers))
    screen.print(console.key_list(facts.keys))
    for comparison in (*within_disk(facts), compare(disk_side(facts), disk_side(facts))):
        screen.print(console.comparison(comparison))
        printed += json.dumps(json.comparison(comparison))
    return printed + file.getvalue()


def check_clean(text: str) -> None:
    strange = {char for char in text if char != "\n" and unicodedata.category(char) in HIDDEN}
    assert not strange, ascii(strange)


def survive(look_at: Callable[[], Inspection]) -> str:
    """Inspect, examine and render; return the state and what is odd, or the kind of error."""
    try:
        facts = look_at()
        findings = examine(facts)
        check_clean(print_all(facts, findings, with_headers=False))
        return " ".join([facts.state, *(finding.id for finding in findings)])
    except B2dError as error:
        check_clean(visible(str(error)))
        return type(error).__name__


# --- random faults --------------------------------------------------------------------------------------

RAW_DISKS: dict[str, Callable[[], Path]] = {
    "fresh": fresh,
    "fresh, rsa4096": lambda: fresh(TAR4096),
    **{name: functools.partial(provisioned, name) for name in ("automount", "autoformat", "minikube")},
}
DISKS = RAW_DISKS | {f"{name} VDI": lambda make=make: as_vdi(make()) for name, make in RAW_DISKS.items()}


@functools.cache
def hot_places(path: Path) -> list[tuple[int, int]]:
    """Return the stretches of the file in which a change matters, the structures more often."""
    file = open_file(path)
    stretches: list[tuple[int, int]] = []
    for extent in file.extents():
        if extent.kind == "data":
            places = range(extent.offset, extent.offset + min(extent.length, 4 * MIB), 4096)
            stretches += [(place, 4096) for place in places if file.pread(place, 4096).strip(b"\0")]
    structures = [(0, 30), (446, 66), (512, 92), (1024, 256), (1536, 700)]
    for start in (MINIKUBE_START, SWAP_START, DATA_START, OLD_SWAP_START, OLD_DATA_START):
        structures += [(start * 512 + 1024, 0x108), (start * 512 + 2048, 64)]
    if path.suffix == ".vdi":
        disk = VdiContainer(file)
        inside = [(disk.locate(offset), length) for offset, length in structures]
        structures = [
            (72, 400),
            (512, 64),
            *((offset, size) for offset, size in inside if offset is not None),
        ]
    return stretches[:60] + 8 * structures


def flip(dice: random.Random, path: Path) -> list[Patch]:
    patches = []
    for _ in range(dice.choice((1, 1, 2, 8))):
        start, length = dice.choice(hot_places(path))
        offset = start + dice.randrange(length)
        old = open_file(path).pread(offset, 1) or b"\0"
        bit = bytes([old[0] ^ 1 << dice.randrange(8)])
        width = dice.choice((1, 2, 4, 8))
        new = dice.choice((bit, bit, b"\0" * width, b"\xff" * width, dice.randbytes(width)))
        patches.append((offset, new))
    return patches


@needs_disks
@needs("qemu-img")
@pytest.mark.parametrize("name", DISKS)
@pytest.mark.slow
@pytest.mark.no_cover
def test_random_faults(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(sleuthkit, "SECONDS_PER_ANSWER", 1)
    path, dice = DISKS[name](), random.Random(name)
    outcomes = {survive(lambda: look(path, *flip(dice, path))) for _ in range(30)}
    assert len(outcomes) > 2, outcomes


@needs_disks
@needs("qemu-img")
@pytest.mark.parametrize("name", DISKS)
@pytest.mark.slow
@pytest.mark.no_cover
def test_truncation(name: str) -> None:
    path, dice = DISKS[name](), random.Random(name)
    size = open_file(path).size
    sizes = [1, 2, 3, 29, 64, 68, 72, 456, 472, 511, 512, 513, 1024, 4096, 4097, MIB, MIB + 3, 2 * MIB + 100]
    sizes += [size - 1, size - 512, size - 34 * 512] + [dice.randrange(size) for _ in range(8)]
    outcomes = {survive(lambda length=length: look(path, size=length)) for length in sizes if length < size}
    assert len(outcomes) > 1, outcomes


# --- text that must not be obeyed -----------------------------------------------------------------------

POISON = {
    "markup": "[bold red]red[/bold red] [link=http://evil]x[/link]",
    "closing tag": "[/] [/bold] [not a tag",
    "emoji": ":boom: :skull:",
    "escape": "\x1b[31mred\x1b]0;title\x07\x9b2J",
    "return": "good\rbad\x08\x7f\x00gone",
    "bidi": "\u202egnp.exe\u2066\u200b\ufeff",
    "separators": "a\u2028b\u2029c\x85d\x0b\x0c",
    "private": "\ue000\U000f0000\U000e0041",
    "backslash": "\\x1b[31m \\n",
}
RAW_POISON = {name: text.encode() for name, text in POISON.items()} | {
    "not UTF-8": b"\xff\xfe\x80 \xc0\xaf \xf5\x90\x80\x80",
    "lone surrogate": b"\xed\xa0\x80 \xed\xb3\xbf",
}
MARKS = ("[bold red]", "[/bold red]", "[link=http://evil]", "[/]", "[not a tag", ":boom:", ":skull:")


def check_shown(facts: Inspection, poison: bytes) -> None:
    text = print_all(facts, examine(facts))
    check_clean(text)
    for mark in MARKS:
        if mark.encode() in poison:
            assert mark in text.replace("\n", ""), f"{mark} was obeyed"


@pytest.mark.parametrize("name", RAW_POISON)
@pytest.mark.slow(but=6)
def test_key_comments_and_options(name: str) -> None:
    poison = RAW_POISON[name].replace(b"\n", b"")
    lines = [
        PUB.rstrip() + b" " + poison,
        b'command="' + poison + b'" ' + PUB.rstrip(),
        b"ssh-" + poison + b" AAAA",
        poison,
        poison + b"=" + poison,
    ]
    facts = look(fresh(build_userdata(b"\n".join(lines))))
    assert len(facts.keys) >= 8
    check_shown(facts, poison)


@pytest.mark.parametrize("name", RAW_POISON)
@pytest.mark.slow(but=6)
def test_names_in_the_tar(name: str) -> None:
    poison = RAW_POISON[name]
    header = bytearray(TAR[1024:1536])
    header[:100] = poison[:100].ljust(100, b"\0")
    header[156:257] = b"2" + poison[:100].ljust(100, b"\0")
    tar = TAR[:1024] + with_checksum(bytes(header)) + TAR[1024:]
    facts = look(make_disk(4 * MIB, (0, tar)))
    assert facts.userdata[0].tar.entries[1].name == poison.split(b"\0")[0]
    check_shown(facts, poison.split(b"\0")[0])


@pytest.mark.parametrize("name", RAW_POISON)
def test_the_first_bytes_of_a_foreign_disk(name: str) -> None:
    check_shown(look(make_disk(4 * MIB, (0, RAW_POISON[name]))), b"")
    check_shown(look(fresh(), (3, RAW_POISON[name][:8])), b"")


@needs_disks
@pytest.mark.parametrize("name", RAW_POISON)
@pytest.mark.slow
def test_labels_of_filesystem_and_swap(name: str) -> None:
    poison = RAW_POISON[name][:16].split(b"\0")[0]
    label = poison.ljust(16, b"\0")
    facts = look(
        provisioned("automount"),
        (OLD_DATA_START * 512 + 1024 + 120, label),
        (OLD_DATA_START * 512 + 1024 + 136, RAW_POISON[name][:64].ljust(64, b"\0")),
        (OLD_SWAP_START * 512 + 1024 + 28, label),
    )
    assert {volume.label for volume in facts.volumes} == {poison}
    check_shown(facts, poison)


@needs_disks
@pytest.mark.parametrize("name", POISON)
@pytest.mark.slow
def test_names_of_gpt_partitions(name: str) -> None:
    path = provisioned("autoformat")
    disk = open_file(path)
    text = POISON[name].encode("utf-16-le")[:70] + b"\x00\xd8"  # and half a surrogate pair
    header, entries = bytearray(disk.pread(512, 92)), bytearray(disk.pread(1024, 128 * 128))
    entries[56:128] = text.ljust(72, b"\0")
    header[88:92] = zlib.crc32(entries).to_bytes(4, "little")
    header[16:20] = bytes(4)
    header[16:20] = zlib.crc32(header).to_bytes(4, "little")
    facts = look(path, (512, bytes(header)), (1024, bytes(entries)))
    assert facts.table.kind == "gpt"
    assert facts.table.partitions[0].name == text.decode("utf-16-le", "surrogatepass").split("\0")[0]
    check_shown(facts, b"")


@needs("qemu-img")
@pytest.mark.parametrize("name", RAW_POISON)
@pytest.mark.slow(but=5)
def test_the_comment_of_a_vdi(name: str) -> None:
    poison = RAW_POISON[name].split(b"\0")[0]
    check_shown(look(as_vdi(fresh()), (84, poison.ljust(256, b"\0"))), poison)


@needs_disks
@pytest.mark.parametrize("name", RAW_POISON)
@pytest.mark.slow
def test_names_on_the_data_partition(name: str) -> None:
    from contextlib import closing

    from b2dinspect.filesystems.ext4 import Ext4

    path = provision("minikube", size=64 * MIB, names=("boot2docker",))
    poison = RAW_POISON[name].replace(b"/", b"_").replace(b"\0", b"_")[:100]
    disk = open_file(path)
    directory = look(path).volumes[0]
    with closing(Ext4(directory.source)) as files:
        inode = files.find(b"var/lib/boot2docker/userdata.tar").node.inode
    # The directory entry: inode, length, length of the name, type, and the name itself.
    entry = inode.to_bytes(4, "little")
    start = MINIKUBE_START * 512
    head = disk.pread(start, 16 * MIB)
    place = start + head.index(b"userdata.tar") - 8
    assert disk.pread(place, 4) == entry
    facts = look(path, (place + 6, bytes([len(poison)])), (place + 8, poison))
    with closing(Ext4(facts.volumes[0].source)) as files:
        listed = files.list(files.find(b"var/lib/boot2docker"))
    assert [item.name for item in listed] == [poison]
    file = io.StringIO()
    Console(file=file, width=300).print(console.listing(listed))
    check_clean(file.getvalue() + json.dumps(json.directory_entry(listed[0])))
    for mark in MARKS:
        assert (mark.encode() in poison) == (mark in file.getvalue())


@pytest.mark.parametrize("name", RAW_POISON)
def test_the_path_of_the_evidence_itself(name: str) -> None:
    facts = look(fresh())._replace(path=RAW_POISON[name].decode("utf-8", "surrogateescape"))
    check_shown(facts, RAW_POISON[name])


@pytest.mark.parametrize(
    "char", [chr(code) for code in (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x202E, 0xD800)]
)
def test_visible_hides_no_byte_and_obeys_none(char: str) -> None:
    shown = visible(f"a{char}b")
    check_clean(shown)
    assert shown.startswith("a\\")
    assert shown.endswith("b")
    assert visible(shown) != shown  # an escape in the evidence is told from one of ours


# --- memory ---------------------------------------------------------------------------------------------

MEASURE = """
import io, resource, sys
from rich.console import Console
from b2dinspect.doctor.disk import examine
from b2dinspect.errors import B2dError
from b2dinspect.inspection.walk import inspect
from b2dinspect.render import console, json
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
for path in sys.argv[1:]:
    try:
        facts = inspect(path)
        findings = examine(facts)
        json.dumps(json.show(facts, findings))
        Console(file=io.StringIO()).print(console.show(facts, findings))
        print(facts.state)
    except B2dError as error:
        print(type(error).__name__)
try:  # ru_maxrss would include what the process was before exec: the test runner
    with open("/proc/self/status") as status:
        print(next(int(line.split()[1]) // 1024 for line in status if line.startswith("VmHWM")))
except FileNotFoundError:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def save(base: Path, *patches: Patch) -> Path:
    """Copy the first 16 MiB of a disk, with patches, to a sparse file of its size."""
    path = new_path(base.name)
    with path.open("wb") as file:
        file.write(open_file(base).pread(0, 16 * MIB))
        file.truncate(open_file(base).size)
        for offset, data in patches:
            file.seek(offset)
            file.write(data)
    return path


def field(name: str) -> int:
    """Return the offset of a superblock field in a filesystem."""
    names = [part.name for part in SUPERBLOCK.subcons]
    return 1024 + sum(part.sizeof() for part in SUPERBLOCK.subcons[: names.index(name)])


def nasty() -> list[Path]:
    """Return disks that ask for much memory: huge counts, sizes, maps, and many entries."""
    start = MINIKUBE_START * 512
    huge = with_checksum(TAR[1536:1660] + b"\x80" + b"\xff" * 11 + TAR[1672:2048])
    many = TAR[:1536] + TAR[1024:1536] * 200_000
    long_name = with_checksum(TAR[1024:1148] + b"77777777777\0" + TAR[1160:1180] + b"L" + TAR[1181:1536])
    ext, vdi = provision("minikube", size=64 * MIB), as_vdi(fresh())
    return [
        make_disk(1 << 42, (0, TAR[:1536] + huge + TAR[2048:])),
        make_disk(1 << 30, (0, many)),
        make_disk(1 << 40, (0, TAR[:1024] + long_name)),
        make_disk(1 << 40),
        make_disk(1 << 30, (0, build_userdata(b"x\n" * (8 * MIB)))),
        save(ext, (start + field("inodes_per_group"), b"\xff\xff\xff\xff")),
        save(ext, (start + field("blocks_count_lo"), b"\xff\xff\xff\xff")),
        save(ext, (start + field("log_block_size"), b"\x1f\0\0\0")),
        save(vdi, (72 + 312, (1 << 26).to_bytes(4, "little")), (72 + 296, b"\0\0\0\0\0\0\0\x10")),
        save(vdi, (72 + 296, b"\xff" * 7 + b"\x7f")),
    ]


@needs_disks
@needs("qemu-img")
@pytest.mark.slow
def test_memory_is_bounded() -> None:
    paths = nasty()
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *paths], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    *outcomes, peak = done.stdout.split()
    assert done.returncode == 0, done.stderr
    assert len(outcomes) == len(paths)
    assert int(peak) < 300


def test_a_tar_of_headers_only_has_an_end() -> None:
    assert len(read_tar(open_file(make_disk(1 << 30, (0, TAR[1024:1536] * 20_000)))).entries) == MAX_ENTRIES
