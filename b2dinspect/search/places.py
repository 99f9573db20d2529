"""Superblocks and their copies, swap headers, partition tables, and the label of a cloud-init seed.

Sources: see ``filesystems.copies``, ``partitions.gpt`` and ``partitions.mbr``; cloud-init, DataSourceNoCloud
(the label ``cidata``); ECMA-119, 8.4 (a volume's identifier is at byte 40 of its descriptor); Microsoft's FAT
specification.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from b2dinspect.errors import EvidenceError
from b2dinspect.filesystems import backups, superblock, swap
from b2dinspect.filesystems.copies import SOUGHT, Sight, sights_in
from b2dinspect.filesystems.signatures import NAMES
from b2dinspect.partitions import gpt, mbr
from b2dinspect.search.facts import Find, Sure
from b2dinspect.search.scene import Scene
from b2dinspect.source import SECTOR

KINDS = ("btrfs", "xfs", "LUKS", "LVM", "iso9660", "ntfs")
"""Filesystems whose signature is looked for, beside ext and swap."""
SIGNATURES = tuple(one for one in SOUGHT if one.kind in KINDS)
EXT_AT, MBR_AT = superblock.MAGIC_OFFSET, 510
"""Where in a sector the two bytes stand that an ext superblock, or a partition table, is known by."""
SEED = b"cidata"


def sectors(data: bytes) -> list[tuple[int, str]]:
    """Return the sectors, by their first byte, that can be ext's superblock or an MBR; one begins data."""
    found = []
    for name, within, sign in (("ext", EXT_AT, b"\x53\xef"), ("mbr", MBR_AT, b"\x55\xaa")):
        firsts = data[within::SECTOR]  # a byte of each sector: far fewer to look at
        number = firsts.find(sign[:1])
        while number >= 0:
            at = number * SECTOR
            if data.startswith(sign, at + within):
                found.append((at, name))
            number = firsts.find(sign[:1], number + 1)
    return found


def ext(scene: Scene, at: int) -> Iterator[Find]:
    """Yield the ext superblock that begins at a byte of the disk."""
    copy = backups.copy_in(scene.read(at, superblock.SIZE), at)
    if copy is None:
        return
    block = copy.block
    label = block.label.split(b"\0")[0].decode("utf-8", "surrogateescape")
    fault = superblock.checksum_fault(block, copy.raw)
    has_checksum = bool(block.feature_ro_compat & 0x400)
    is_known = has_checksum and not fault
    is_followed = backups.has_descriptors(scene.disk, copy) if copy.start >= 0 else False
    sure: Sure = (
        "parsed" if is_known or (is_followed and not fault) else "likely" if not fault else "looks-like"
    )
    group = f", the copy of group {block.block_group}" if block.block_group else ""
    where = f", of what begins at byte {copy.start}" if copy.start >= 0 else ""
    what = f"{superblock.kind(block)} superblock{group}{where}"
    identity = b"ext" + str(block.uuid).encode()
    yield Find("superblock", at, superblock.SIZE, sure, what, identity, comment=label)


def other(scene: Scene, at: int) -> Iterator[Find]:
    """Yield the superblock whose signature stands at a byte of the disk."""
    sector = at - at % SECTOR
    for sight in sights_in(scene.disk, scene.read(sector, SECTOR), sector):
        if sight is not None and sight.kind in KINDS:
            yield _named(scene, sight)


def _named(scene: Scene, sight: Sight) -> Find:
    label = _label(scene, sight)
    name = NAMES.get(sight.kind, sight.kind)
    where = f", of what begins at byte {sight.start}" if sight.start != sight.place else ""
    identity = f"{sight.kind} {sight.start}".encode()
    what = f"{name}: superblock{where}"
    return Find("superblock", sight.place, SECTOR, "likely", what, identity, comment=label)


def _label(scene: Scene, sight: Sight) -> str:
    place = {"btrfs": (0x12B, 256), "xfs": (108, 12), "iso9660": (40, 32), "LUKS": (24, 48)}.get(sight.kind)
    raw = scene.read(sight.place + place[0], place[1]) if place else b""
    return raw.split(b"\0")[0].rstrip(b" ").decode("utf-8", "surrogateescape")


def swap_header(scene: Scene, at: int) -> Iterator[Find]:
    """Yield the swap header whose signature stands at a byte of the disk."""
    for page in swap.PAGE_SIZES:
        start = at + len(swap.SIGNATURE) - page
        raw = scene.read(start + swap.HEADER_OFFSET, swap.HEADER.sizeof()) if start >= 0 else b""
        if len(raw) < swap.HEADER.sizeof():
            continue
        header = swap.HEADER.parse(raw)
        if header.version == 1 and header.last_page and not start % SECTOR:
            label = header.label.split(b"\0")[0].decode("utf-8", "surrogateescape")
            what = f"swap header, {(header.last_page + 1) * page} bytes"
            yield Find("swap", start, page, "parsed", what, b"swap" + raw, comment=label)
            return


def mbr_table(scene: Scene, at: int) -> Iterator[Find]:
    """Yield the MBR that a sector of the disk is, if its entries are those of a table."""
    data = scene.read(at, SECTOR)
    found = mbr.read_mbr(data)
    if isinstance(found, str):
        return
    used = [one for one in found[0].partitions if one.type or one.sectors]
    if not used or not all(_is_sound(one) for one in used):
        return
    count = len(used)
    is_protective = any(one.type == mbr.TYPE_PROTECTIVE for one in used)
    kind = "protective MBR" if is_protective else f"MBR, {count} {'entries' if count > 1 else 'entry'}"
    sure: Sure = "parsed" if not at else "likely"
    yield Find("table", at, SECTOR, sure, kind, b"mbr" + data[mbr.TABLE[0] :])


def _is_sound(one: object) -> bool:
    return bool(one.type and one.start and one.sectors and one.start + one.sectors <= 1 << 32)  # type: ignore[attr-defined]


def gpt_table(scene: Scene, at: int) -> Iterator[Find]:
    """Yield the GPT header that begins at a byte of the disk."""
    data = scene.read(at, SECTOR)
    if len(data) < gpt.HEADER_SIZE:
        return
    header = gpt.HEADER.parse(data[: gpt.HEADER_SIZE])
    name = "backup" if header.my_lba > header.alternate_lba else "primary"
    sure: Sure = "looks-like"
    if gpt.is_sealed(header, data):
        sure = "likely"
    if not at % SECTOR:
        try:
            gpt.read_gpt(scene.disk, at // SECTOR, name)
            sure = "parsed"
        except EvidenceError:
            pass
    what = f"GPT header, {name}" if sure != "looks-like" else "the first word of a GPT header"
    identity = hashlib.sha256(header.disk_guid.bytes).digest() if sure != "looks-like" else b"gpt"
    yield Find(
        "table", at, gpt.HEADER_SIZE if sure != "looks-like" else len(gpt.SIGNATURE), sure, what, identity
    )


def seed_label(scene: Scene, at: int) -> Iterator[Find]:
    """Yield the label of a cloud-init seed at a byte of the disk."""
    front, behind = scene.before(at, 40), scene.read(at, 16)
    text = behind[: len(SEED)].decode()
    where, sure = "in other text", "looks-like"
    if front.startswith(b"\x01CD001\x01"):
        where, sure = "the label of an ISO 9660 image", "parsed"
    elif behind[len(SEED) : 14] == b"     FAT":
        where, sure = "the label of a FAT", "parsed"
    elif behind[len(SEED) : 12] == b"     \x08" or behind[len(SEED) : 12] == b"     \x28":
        where, sure = "the label in a FAT's root directory", "likely"
    what = f'"{text}", {where}'
    yield Find("marker", at, len(SEED), sure, what, what.encode(), comment=text)  # type: ignore[arg-type]
