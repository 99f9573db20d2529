"""The groups of an ext4 that is there: their descriptors and bitmaps, and what is free in them.

Source: Linux, Documentation/filesystems/ext4/{blockgroup,group_descr,bitmaps}.rst; a bitmap that was never
written follows from what its group begins with, as ext4_init_block_bitmap in fs/ext4/balloc.c has it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from b2dinspect.errors import FilesystemError
from b2dinspect.filesystems import superblock
from b2dinspect.filesystems.ext4.layout import BLOCK_GROUP_SIZE, GROUP_DESCRIPTOR, GROUP_DESCRIPTOR_HIGH
from b2dinspect.filesystems.ext4.writing.checksums import crc16
from b2dinspect.filesystems.ext4.writing.record import Record
from b2dinspect.filesystems.superblock import crc32c
from b2dinspect.source import ByteSource, SliceSource

INODE_UNINIT, BLOCK_UNINIT = 0x1, 0x2
WIDE = 0x80
SPARSE_SUPER, GDT_CHECKSUM, METADATA_CHECKSUM = 0x1, 0x10, 0x400
SEED_IN_SUPERBLOCK = 0x2000
HAS_CHECKSUM = slice(30, 32)
"""Where a descriptor has its own checksum."""


class Storage(SliceSource):
    """A part of a disk that can be written, such as a partition.

    Args:
        disk: The disk.
        offset: Byte at which the part begins.
        length: Bytes of it.
        pwrite: Writes bytes at an offset of the disk.
    """

    def __init__(
        self, disk: ByteSource, offset: int, length: int, pwrite: Callable[[int, bytes], None]
    ) -> None:
        super().__init__(disk, offset, length)
        self._start, self._pwrite = offset, pwrite

    def pwrite(self, offset: int, data: bytes) -> None:
        """Write bytes at an offset of the part.

        Raises:
            ValueError: They do not fit in it.
        """
        if offset < 0 or offset + len(data) > self.size:
            raise ValueError(f"{len(data)} bytes at {offset} do not fit in a partition of {self.size}")
        self._pwrite(self._start + offset, data)


class Super(Record):
    """The superblock of a filesystem that is to be changed, and the sizes that follow from it."""

    def __init__(self, raw: bytes) -> None:
        super().__init__(raw, superblock.SUPERBLOCK)
        self.block_size = 1024 << self.get("log_block_size")
        self.first_block = self.get("first_data_block")
        self.is_wide = bool(self.get("feature_incompat") & WIDE)
        self.blocks = self.get("blocks_count") if self.is_wide else self.get("blocks_count_lo")
        self.group_blocks = self.get("blocks_per_group")
        self.group_inodes = self.get("inodes_per_group")
        self.groups = -(-(self.blocks - self.first_block) // self.group_blocks)
        self.inode_size = self.get("inode_size") if self.get("revision") else 128
        self.descriptor_size = self.get("descriptor_size") if self.is_wide else BLOCK_GROUP_SIZE
        ro_compat = self.get("feature_ro_compat")
        self.has_checksums = bool(ro_compat & METADATA_CHECKSUM)
        self.has_uninit = bool(ro_compat & (METADATA_CHECKSUM | GDT_CHECKSUM))
        self.seed = crc32c(self.raw("uuid"))
        if self.get("feature_incompat") & SEED_IN_SUPERBLOCK:
            self.seed = self.get("checksum_seed")

    def group_start(self, group: int) -> int:
        """Return the first block of a group."""
        return self.first_block + group * self.group_blocks

    def group_length(self, group: int) -> int:
        """Return the blocks of a group."""
        return min(self.group_blocks, self.blocks - self.group_start(group))

    def head_blocks(self, group: int) -> int:
        """Return the blocks of superblock and descriptors that a group begins with."""
        is_power = any(group == base**n for base in (3, 5, 7) for n in range(1, 21))
        if group > 1 and not is_power and self.get("feature_ro_compat") & SPARSE_SUPER:
            return 0
        descriptors = -(-self.groups * self.descriptor_size // self.block_size)
        return 1 + descriptors + self.get("reserved_gdt_blocks")

    def sealed(self) -> bytes:
        """Return the bytes with their checksum."""
        if self.has_checksums:
            self.set(checksum=crc32c(bytes(self.data[: self.place("checksum").start])))
        return bytes(self.data)


class Groups:
    """Descriptors and bitmaps, read when needed; what changes is written by ``flush``.

    Args:
        fs: The filesystem.
        block: Its superblock. Its counts of what is free are kept up to date.
    """

    def __init__(self, fs: Storage, block: Super) -> None:
        self._fs, self._super = fs, block
        self._descriptors: dict[int, Record] = {}
        self._bitmaps: dict[tuple[str, int], int] = {}
        self._changed: set[tuple[str, int]] = set()

    def inode_offset(self, number: int) -> int:
        """Return the byte of the filesystem at which an inode lies."""
        group, within = divmod(number - 1, self._super.group_inodes)
        table = self._descriptor(group).get("inode_table")
        return table * self._super.block_size + within * self._super.inode_size

    # --- blocks ---

    def take_blocks(self, goal: int, count: int) -> list[tuple[int, int]]:
        """Claim free blocks, from those of a group on, and return them as runs.

        Args:
            goal: The group to begin with.
            count: Blocks.

        Raises:
            FilesystemError: There are not so many.
        """
        if count > self._super.get("free_blocks"):
            raise FilesystemError(f"{count} blocks are needed, {self._super.get('free_blocks')} are free")
        runs: list[tuple[int, int]] = []
        for group in self._order(goal):
            for first, length in [*self._free_runs(group)]:
                taken = min(length, count)
                runs.append((first, taken))
                self._mark_blocks(first, taken, True)
                count -= taken
                if not count:
                    return runs
        raise FilesystemError("fewer blocks are free than the superblock says")

    def free_blocks(self, runs: Iterable[tuple[int, int]]) -> None:
        """Let go of blocks, as (first, count).

        Raises:
            FilesystemError: They were not in use, or are none of a file's.
        """
        for first, count in runs:
            self._check_range(first, count)
            while count:
                group = (first - self._super.first_block) // self._super.group_blocks
                length = min(count, self._super.group_start(group) + self._super.group_length(group) - first)
                self._mark_blocks(first, length, False)
                first, count = first + length, count - length

    def in_use(self, first: int, count: int) -> bool:
        """Tell whether all blocks of a run are marked as used."""
        self._check_range(first, count)
        while count:
            group = (first - self._super.first_block) // self._super.group_blocks
            within = first - self._super.group_start(group)
            length = min(count, self._super.group_length(group) - within)
            bits = (1 << length) - 1
            if self._bitmap("block", group) >> within & bits != bits:
                return False
            first, count = first + length, count - length
        return True

    def _check_range(self, first: int, count: int) -> None:
        if not self._super.first_block < first < first + count <= self._super.blocks:
            raise FilesystemError(f"{count} blocks at {first} are none of this filesystem's")

    def _free_runs(self, group: int) -> Iterator[tuple[int, int]]:
        if not self._descriptor(group).get("free_blocks"):
            return
        start, length = self._super.group_start(group), self._super.group_length(group)
        free = ~self._bitmap("block", group) & (1 << length) - 1
        while free:
            first = (free & -free).bit_length() - 1
            rest = free >> first
            count = (~rest & rest + 1).bit_length() - 1
            yield start + first, count
            free &= ~(((1 << count) - 1) << first)

    def _mark_blocks(self, first: int, count: int, is_used: bool) -> None:
        group = (first - self._super.first_block) // self._super.group_blocks
        bits = ((1 << count) - 1) << first - self._super.group_start(group)
        self._mark("block", group, bits, is_used)
        descriptor, change = self._descriptor(group), -count if is_used else count
        descriptor.set(free_blocks=descriptor.get("free_blocks") + change)
        self._super.set(free_blocks=self._super.get("free_blocks") + change)
        if self._super.has_uninit:
            descriptor.set(flags=descriptor.get("flags") & ~BLOCK_UNINIT)

    # --- inodes ---

    def take_inode(self, goal: int, *, is_directory: bool) -> int:
        """Claim a free inode, from those of a group on, and return its number.

        Raises:
            FilesystemError: There is none.
        """
        for group in self._order(goal):
            if not self._descriptor(group).get("free_inodes"):
                continue
            reserved = max(0, self._super.get("first_inode") - 1) if group == 0 else 0
            used = self._bitmap("inode", group) | (1 << reserved) - 1
            free = ~used & (1 << self._super.group_inodes) - 1
            if free:
                within = (free & -free).bit_length() - 1
                self._mark_inode(group, within, is_directory=is_directory, is_used=True)
                return group * self._super.group_inodes + within + 1
        raise FilesystemError("no inode is free")

    def free_inode(self, number: int, *, is_directory: bool) -> None:
        """Let go of an inode."""
        group, within = divmod(number - 1, self._super.group_inodes)
        self._mark_inode(group, within, is_directory=is_directory, is_used=False)

    def _mark_inode(self, group: int, within: int, *, is_directory: bool, is_used: bool) -> None:
        self._mark("inode", group, 1 << within, is_used)
        descriptor, change = self._descriptor(group), 1 if is_used else -1
        descriptor.set(free_inodes=descriptor.get("free_inodes") - change)
        self._super.set(free_inodes=self._super.get("free_inodes") - change)
        if is_directory:
            descriptor.set(used_directories=descriptor.get("used_directories") + change)
        if self._super.has_uninit:
            behind = self._super.group_inodes - within - 1
            unused = min(descriptor.get("unused_inodes"), behind)
            descriptor.set(unused_inodes=unused, flags=descriptor.get("flags") & ~INODE_UNINIT)

    # --- bitmaps and descriptors ---

    def _order(self, goal: int) -> Iterator[int]:
        yield from range(goal, self._super.groups)
        yield from range(goal)

    def _mark(self, kind: str, group: int, bits: int, is_used: bool) -> None:
        now = self._bitmap(kind, group)
        if now & bits != (0 if is_used else bits):
            raise FilesystemError(f"the {kind} bitmap of group {group} does not fit what is in use")
        self._bitmaps[kind, group] = now ^ bits
        self._changed.add((kind, group))

    def _bitmap(self, kind: str, group: int) -> int:
        """Return a bitmap as a number whose bit 0 is the group's first block or inode."""
        if (kind, group) not in self._bitmaps:
            descriptor = self._descriptor(group)
            flag = BLOCK_UNINIT if kind == "block" else INODE_UNINIT
            if self._super.has_uninit and descriptor.get("flags") & flag:
                self._bitmaps[kind, group] = self._initial(kind, group, descriptor)
            else:
                self._bitmaps[kind, group] = self._read(kind, group, descriptor)
        return self._bitmaps[kind, group]

    def _initial(self, kind: str, group: int, descriptor: Record) -> int:
        size = 8 * self._super.block_size
        if kind == "inode":
            return ((1 << size - self._super.group_inodes) - 1) << self._super.group_inodes
        length, start = self._super.group_length(group), self._super.group_start(group)
        bits = (1 << self._super.head_blocks(group)) - 1 | ((1 << size - length) - 1) << length
        tables = -(-self._super.group_inodes * self._super.inode_size // self._super.block_size)
        for name, count in (("block_bitmap", 1), ("inode_bitmap", 1), ("inode_table", tables)):
            place = descriptor.get(name) - start
            if 0 <= place < length:
                bits |= ((1 << count) - 1) << place
        return bits

    def _read(self, kind: str, group: int, descriptor: Record) -> int:
        size = self._super.block_size
        data = self._fs.pread(descriptor.get(f"{kind}_bitmap") * size, size)
        if self._super.has_checksums and self._checksum(kind, data) != self._kept(descriptor, kind):
            raise FilesystemError(f"the {kind} bitmap of group {group} has a wrong checksum")
        return int.from_bytes(data, "little")

    def _checksum(self, kind: str, data: bytes) -> int:
        bits = self._super.group_blocks if kind == "block" else self._super.group_inodes
        crc = crc32c(data[: bits // 8], self._super.seed)
        return crc if self._super.descriptor_size > BLOCK_GROUP_SIZE else crc & 0xFFFF

    @staticmethod
    def _kept(descriptor: Record, kind: str) -> int:
        return descriptor.get(f"{kind}_bitmap_checksum")

    def _place(self, group: int) -> int:
        size = self._super.block_size
        return (self._super.first_block + 1) * size + group * self._super.descriptor_size

    def _descriptor(self, group: int) -> Record:
        if group not in self._descriptors:
            raw = self._fs.pread(self._place(group), self._super.descriptor_size)
            found = Record(raw, GROUP_DESCRIPTOR, GROUP_DESCRIPTOR_HIGH)
            if self._super.has_uninit and found.get("checksum") != self._own_checksum(group, raw):
                raise FilesystemError(f"the descriptor of group {group} has a wrong checksum")
            self._descriptors[group] = found
        return self._descriptors[group]

    def _own_checksum(self, group: int, raw: bytes) -> int:
        number = group.to_bytes(4, "little")
        before, behind = raw[: HAS_CHECKSUM.start], raw[HAS_CHECKSUM.stop :]
        if self._super.has_checksums:
            return crc32c(before + b"\0\0" + behind, crc32c(number, self._super.seed)) & 0xFFFF
        return crc16(before + behind, crc16(number, crc16(self._super.raw("uuid"))))

    def flush(self) -> None:
        """Write bitmaps and descriptors that changed."""
        for kind, group in sorted(self._changed):
            descriptor = self._descriptor(group)
            data = self._bitmaps[kind, group].to_bytes(self._super.block_size, "little")
            if self._super.has_checksums:
                crc = self._checksum(kind, data)
                descriptor.set(**{f"{kind}_bitmap_checksum": crc})
            self._fs.pwrite(descriptor.get(f"{kind}_bitmap") * self._super.block_size, data)
        for group in sorted({group for _, group in self._changed}):
            descriptor = self._descriptor(group)
            if self._super.has_uninit:
                descriptor.set(checksum=self._own_checksum(group, bytes(descriptor.data)))
            self._fs.pwrite(self._place(group), bytes(descriptor.data))
        self._changed.clear()


def as_runs(blocks: Iterable[int]) -> list[tuple[int, int]]:
    """Return single blocks as runs, as (first, count).

    >>> as_runs([7, 8, 9, 20])
    [(7, 3), (20, 1)]
    """
    runs: list[tuple[int, int]] = []
    for block in blocks:
        if runs and sum(runs[-1]) == block:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((block, 1))
    return runs


def as_blocks(runs: Iterable[tuple[int, int]]) -> list[int]:
    """Return runs, (first, count), as single blocks."""
    return [block for first, count in runs for block in range(first, first + count)]
