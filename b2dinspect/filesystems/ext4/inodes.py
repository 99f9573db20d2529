"""Inodes by number: from the group descriptors to the table, and what an inode's bytes say.

Source: Linux, Documentation/filesystems/ext4/{group_descr,inodes,special_inodes}.rst; fs/ext4/super.c for
where meta_bg puts descriptors. Tables of thousands are unpacked with ``struct``, in the order of ``layout``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

from b2dinspect.errors import FilesystemError, MissingDataError
from b2dinspect.fields import offset_of, packer, size_of
from b2dinspect.filesystems import superblock
from b2dinspect.filesystems.ext4 import layout
from b2dinspect.source import ByteSource, read_exactly

META_BG, WIDE = 0x10, 0x80
GROUP_CHECKSUMS, METADATA_CHECKSUMS = 0x10, 0x400
UNINITIALIZED, BLOCKS_UNINITIALIZED = 0x1, 0x2
"""Flags of a group whose inodes, or blocks, were never written."""
BIGALLOC = 0x200
"""The bitmap counts clusters of several blocks."""
SPARSE_SUPER, SPARSE_SUPER2 = 0x1, 0x200
CHUNK = 16 << 10
"""Bytes of an inode table that are read at once."""
KEPT_CHUNKS = 128
NANOSECONDS = 1_000_000_000

_INODE = packer(layout.INODE)
_EXTRA = packer(layout.INODE_EXTRA)
_BOTH = struct.Struct(f"{_INODE.format}{_EXTRA.format.lstrip('<')}")
_TABLE_LO = offset_of(layout.GROUP_DESCRIPTOR, "inode_table_lo")
_TABLE_HI = size_of(layout.GROUP_DESCRIPTOR) + offset_of(layout.GROUP_DESCRIPTOR_HIGH, "inode_table_hi")
_SIGN = 1 << 31
_WHOLE = 128 + size_of(layout.INODE_EXTRA)


class Inode(NamedTuple):
    """An inode, unpacked.

    Attributes:
        number: Its number.
        mode: Type and permission bits.
        uid: Owner.
        gid: Group.
        size: Bytes.
        links: Names.
        flags: See ``layout.INODE_FLAGS``.
        sectors: What it takes, in sectors of 512 bytes (in blocks with huge_file).
        generation: Seeds the checksums of what belongs to it.
        block: 60 bytes: block map, extent tree, short link target or inline data.
        xattr_block: Block of extended attributes, 0 for none.
        atime: Last access, nanoseconds since 1970.
        mtime: Last change of the content, the same.
        ctime: Last change of the inode, the same.
        rest: What is behind the fields: extended attributes, in an inode that is large enough.
    """

    number: int
    mode: int
    uid: int
    gid: int
    size: int
    links: int
    flags: int
    sectors: int
    generation: int
    block: bytes
    xattr_block: int
    atime: int
    mtime: int
    ctime: int
    rest: bytes


class Inodes:
    """The inodes of one filesystem.

    Args:
        fs: The filesystem, from its first byte.
        block: Its superblock, parsed.
    """

    def __init__(self, fs: ByteSource, block: Any) -> None:
        self._fs = fs
        self._super = block
        self.block_size = superblock.block_size(block)
        self.count = int(block.inodes_count)
        self._size = 128 if block.revision == 0 else int(block.inode_size)
        self._per_group = int(block.inodes_per_group)
        is_wide = block.feature_incompat & WIDE and block.descriptor_size >= 64
        self._descriptor_size = int(block.descriptor_size) if is_wide else layout.BLOCK_GROUP_SIZE
        if self._descriptor_size > self.block_size:
            text = "a group descriptor is larger than a block"
            raise FilesystemError(
                text, layer=superblock.LAYER, expected=f"up to {self.block_size}", found=self._descriptor_size
            )
        self._tables: dict[int, int] = {}
        self._chunks: dict[int, bytes] = {}
        self._described_at, self._descriptors = -1, b""

    def inode(self, number: int) -> Inode:
        """Return an inode, in use or not.

        Raises:
            FilesystemError: There is none of that number, or its group descriptor makes no sense.
            MissingDataError: This evidence does not hold it.
        """
        return unpacked(number, self.raw(number))

    def raw(self, number: int) -> bytes:
        """Return the bytes of an inode.

        Raises:
            FilesystemError, MissingDataError: As ``inode``.
        """
        if not 0 < number <= self.count:
            text = f"inode {number} is none of this filesystem's"
            raise FilesystemError(text, layer="inode", expected=f"1 to {self.count}", found=number)
        group, within = divmod(number - 1, self._per_group)
        return self._raw(self._table(group), within * self._size)

    @property
    def groups(self) -> int:
        """How many groups there are."""
        return -(-self.count // self._per_group)

    def used(self) -> Iterator[Inode]:
        """Yield the inodes that have a name, or hold what is the filesystem's own, by number.

        Raises:
            FilesystemError: A group descriptor makes no sense.
            MissingDataError: This evidence does not hold all of them.
        """
        for group in range(self.groups):
            yield from self.used_in(group)

    def used_in(self, group: int) -> Iterator[Inode]:
        """Yield the same of one group.

        Raises:
            FilesystemError, MissingDataError: As ``used``.
        """
        length = self.ever_used(group) * self._size
        table = self._table(group) if length else 0
        for extent in self._fs.extents(table, length):
            if extent.kind == "zero":
                continue
            first = (extent.offset - table) // self._size * self._size
            for at in range(first, extent.offset + extent.length - table, self._size):
                raw = self._raw(table, at)
                if any(raw[:2]) and any(raw[26:28]):  # a mode, and links to it
                    yield unpacked(group * self._per_group + at // self._size + 1, raw)

    def is_allocated(self, block: int) -> bool:
        """Tell whether the block bitmap of its group has a block as taken.

        Raises:
            FilesystemError, MissingDataError: As ``used``.
        """
        first = int(self._super.first_data_block)
        group, within = divmod(block - first, int(self._super.blocks_per_group))
        has_flags = self._super.feature_ro_compat & (GROUP_CHECKSUMS | METADATA_CHECKSUMS)
        if has_flags and self._number(group, "flags", 2) & BLOCKS_UNINITIALIZED:
            return False  # nobody has written to the group; what is its own stands at known places
        if self._super.feature_ro_compat & BIGALLOC:
            within >>= int(self._super.log_cluster_size) - int(self._super.log_block_size)
        bitmap = self._number(group, "block_bitmap") * self.block_size
        byte = read_exactly(self._fs, bitmap + within // 8, 1, FilesystemError, "block bitmap")
        return bool(byte[0] >> within % 8 & 1)

    @property
    def per_group(self) -> int:
        """How many inodes a group has."""
        return self._per_group

    def own_area(self, group: int) -> tuple[int, int]:
        """Return the blocks at the start of a group with superblock and descriptors, as (first, count)."""
        first = group * int(self._super.blocks_per_group) + int(self._super.first_data_block)
        if not self._has_super(group):
            return first, 0
        descriptors = -(-self.groups * self._descriptor_size // self.block_size)
        return first, 1 + descriptors + int(self._super.reserved_gdt_blocks)

    def own_blocks(self, group: int) -> list[tuple[int, int]]:
        """Return the blocks of a group's bitmaps and inode table, as (first, count)."""
        names = ("block_bitmap", "inode_bitmap")
        table = -(-self._per_group * self._size // self.block_size)
        bitmaps = [(self._number(group, name), 1) for name in names]
        return [*bitmaps, (self._table(group) // self.block_size, table)]

    def ever_used(self, group: int) -> int:
        """Return how many inodes of a group were ever written; behind them is what was there before."""
        if not self._super.feature_ro_compat & (GROUP_CHECKSUMS | METADATA_CHECKSUMS):
            return self._per_group
        if self._number(group, "flags", 2) & UNINITIALIZED:
            return 0
        return max(0, self._per_group - self._number(group, "unused_inodes", 2))

    def _number(self, group: int, name: str, width: int = 4) -> int:
        """Return a number of a group's descriptor, both halves of it where there are two."""
        raw = self._described(group)
        low, high = layout.GROUP_DESCRIPTOR, layout.GROUP_DESCRIPTOR_HIGH
        at = offset_of(low, name if name == "flags" else f"{name}_lo")
        number = int.from_bytes(raw[at : at + width], "little")
        if name != "flags" and self._descriptor_size >= 64:
            at = size_of(low) + offset_of(high, f"{name}_hi")
            number |= int.from_bytes(raw[at : at + width], "little") << 8 * width
        return number

    def _raw(self, table: int, offset: int) -> bytes:
        """Return the bytes of the inode at an offset in a table that begins at a byte of the filesystem."""
        start = table + offset // CHUNK * CHUNK
        chunk = self._chunks.pop(start, None)
        if chunk is None:
            try:
                chunk = self._fs.pread(start, CHUNK)
            except MissingDataError:  # what is missing may be its neighbours
                return read_exactly(self._fs, table + offset, self._size, FilesystemError, "inode")
            if len(self._chunks) >= KEPT_CHUNKS:
                del self._chunks[next(iter(self._chunks))]
        self._chunks[start] = chunk
        at = offset % CHUNK
        raw = chunk[at : at + self._size]
        if len(raw) < 128:
            raise FilesystemError("cut short", layer="inode", offset=table + offset)
        return raw

    def _table(self, group: int) -> int:
        """Return the byte at which a group's inode table begins."""
        if group not in self._tables:
            offset, raw = self._descriptor(group), self._described(group)
            number = int.from_bytes(raw[_TABLE_LO : _TABLE_LO + 4], "little")
            if self._descriptor_size >= 64:
                number |= int.from_bytes(raw[_TABLE_HI : _TABLE_HI + 4], "little") << 32
            last = superblock.block_count(self._super) - 1
            if not self._super.first_data_block < number <= last:
                text = f"group {group} has no sensible place for its inodes"
                raise FilesystemError(
                    text, layer="group descriptor", offset=offset, expected=f"1 to {last}", found=number
                )
            self._tables[group] = number * self.block_size
        return self._tables[group]

    def _described(self, group: int) -> bytes:
        """Return a group's descriptor; the block that it is in is read once for its neighbours too."""
        offset, size = self._descriptor(group), self._descriptor_size
        start = offset // self.block_size * self.block_size
        if start != self._described_at:
            try:
                self._descriptors = self._fs.pread(start, self.block_size)
            except MissingDataError:  # what is missing may be its neighbours
                return read_exactly(self._fs, offset, size, FilesystemError, "group descriptor")
            self._described_at = start
        raw = self._descriptors[offset - start : offset - start + size]
        if len(raw) < size:
            return read_exactly(self._fs, offset, size, FilesystemError, "group descriptor")
        return raw

    def _descriptor(self, group: int) -> int:
        """Return the byte at which a group's descriptor is."""
        block, size = self._super, self._descriptor_size
        first = superblock.OFFSET // self.block_size + 1  # bigalloc counts from 0 even with blocks of 1 KiB
        per_block = self.block_size // size
        meta = group // per_block
        if not block.feature_incompat & META_BG or meta < block.first_meta_bg:
            return int(first * self.block_size + group * size)
        start = meta * per_block
        before = 1 if block.first_data_block or self.block_size > 1024 or start else 2
        before = before if self._has_super(start) else 0
        place = start * block.blocks_per_group + block.first_data_block + before
        return int(place * self.block_size + group % per_block * size)

    def _has_super(self, group: int) -> bool:
        if self._super.feature_compat & SPARSE_SUPER2:
            return group == 0 or group in self._super.backup_groups
        if group <= 1 or not self._super.feature_ro_compat & SPARSE_SUPER:
            return True
        return any(group == base**n for base in (3, 5, 7) for n in range(1, 21))


def unpacked(number: int, raw: bytes) -> Inode:
    """Return an inode out of its bytes, 128 or more of them."""
    used = min(128 + int.from_bytes(raw[128:130], "little"), len(raw))
    whole = raw if used >= _WHOLE else raw[:used].ljust(_WHOLE, b"\0")
    (
        mode, uid, size, atime, ctime, mtime, _, gid, links, sectors, flags, _, block, generation,
        xattr_block, size_hi, _, sectors_hi, xattr_block_hi, uid_hi, gid_hi, _, _,
        _, _, ctime_extra, mtime_extra, atime_extra, _, _, _, _,
    ) = _BOTH.unpack_from(whole)  # fmt: skip
    return Inode(
        number,
        mode,
        uid | uid_hi << 16,
        gid | gid_hi << 16,
        size | size_hi << 32,
        links,
        flags,
        sectors | sectors_hi << 32,
        generation,
        block,
        xattr_block | xattr_block_hi << 32,
        time_of(atime, atime_extra),
        time_of(mtime, mtime_extra),
        time_of(ctime, ctime_extra),
        raw[used:],
    )


def time_of(seconds: int, extra: int) -> int:
    """Return nanoseconds since 1970: 32 bits with a sign, two more above them, and thirty of nanoseconds."""
    return ((seconds ^ _SIGN) - _SIGN + ((extra & 3) << 32)) * NANOSECONDS + (extra >> 2)
