"""An inode that can be changed.

Source: Linux, Documentation/filesystems/ext4/inodes.rst.
"""

from __future__ import annotations

from collections.abc import Sequence

from b2dinspect.filesystems.ext4.layout import EXTENTS, INODE, INODE_EXTRA
from b2dinspect.filesystems.ext4.writing import extents
from b2dinspect.filesystems.ext4.writing.checksums import inode_seed
from b2dinspect.filesystems.ext4.writing.record import Record
from b2dinspect.filesystems.superblock import crc32c
from b2dinspect.source import SECTOR

FILE_TYPE, DIRECTORY_TYPE, LINK_TYPE = 1, 2, 7
"""What a directory's entry says that it names."""
SMALL = 128
EXTRA = 32
"""Bytes of an inode beyond the first 128 that are used: all that mke2fs 1.47 knows of."""


class InodeRecord(Record):
    """An inode: all bytes of its place in the table.

    Args:
        data: 128 bytes, or more.
    """

    def __init__(self, data: bytes) -> None:
        super().__init__(data, INODE, INODE_EXTRA)

    def map_extents(
        self, runs: Sequence[extents.BlockRun], leaves: Sequence[int], block_size: int, seed: int | None
    ) -> list[tuple[int, bytes]]:
        """Give the inode its blocks, and return what is to be written to which block besides.

        Size and number of sectors follow from the runs; set the size after it if the last block is not full.

        Args:
            runs: Of the file.
            leaves: Blocks for the tree.
            block_size: Bytes.
            seed: The inode's, for checksums.
        """
        root, below = extents.build_tree(runs, leaves, block_size, seed)
        count = sum(run.length for run in runs)
        self.set(flags=self.get("flags") | EXTENTS, block=root, size=count * block_size)
        self.set(blocks=(count + len(leaves)) * (block_size // SECTOR))
        return below

    def stamp(self, time: int, *names: str) -> None:
        """Set times, without fractions of a second."""
        for name in names:
            self.set(**{name: time & 0xFFFFFFFF})
            if self._reaches(f"{name}_extra"):
                self.set(**{f"{name}_extra": time >> 32 & 3})

    def sealed(self, seed: int | None, number: int) -> bytes:
        """Return the bytes with their checksum.

        Args:
            seed: The filesystem's; None without metadata_csum.
            number: The inode's.
        """
        if seed is None:
            return bytes(self.data)
        self.set(checksum_lo=0)
        is_wide = self._reaches("checksum_hi")
        if is_wide:
            self.set(checksum_hi=0)
        crc = crc32c(bytes(self.data), inode_seed(seed, number, self.get("generation")))
        self.set(checksum_lo=crc & 0xFFFF)
        if is_wide:
            self.set(checksum_hi=crc >> 16)
        return bytes(self.data)

    def _reaches(self, name: str) -> bool:
        """Tell whether a field beyond the first 128 bytes is in use."""
        return self.has(name) and self.place(name).stop <= SMALL + self.get("extra_size")


def new_inode(size: int, mode: int, time: int, *, links: int) -> InodeRecord:
    """Return a new inode of root's without blocks.

    Args:
        size: Bytes that it takes in its table.
        mode: Type and permission bits.
        time: Of everything: seconds since 1970.
        links: How many names it has.
    """
    inode = InodeRecord(bytes(size))
    inode.set(mode=mode, links=links)
    if size > SMALL:
        inode.set(extra_size=EXTRA)
    inode.stamp(time, "atime", "ctime", "mtime", *(("crtime",) if size > SMALL else ()))
    return inode
