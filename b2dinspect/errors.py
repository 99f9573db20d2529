"""Every error this package raises, in one tree.

::

    B2dError                 anything raised on purpose
    ├── UsageError           the request makes no sense (bad option, no such partition)
    ├── ToolError            a program of others is missing or failed (QEMU, mke2fs)
    └── EvidenceError        the evidence cannot be read as asked: knows its layer and offset
        ├── SourceError      the file itself: missing, unreadable, not a file
        ├── ContainerError   the disk container (VDI header, block map, …)
        │   └── MissingDataError   the container says that it holds no bytes for this range
        ├── PartitionError   the partition table
        ├── FilesystemError  swap or ext4
        │   └── NotFoundError      no such name in the filesystem
        └── UserdataError    the tar, or a key in it

The library raises these and never prints or exits; the command line turns them into one clear line.
"""

from __future__ import annotations

from typing import Self


class B2dError(Exception):
    """Base of all errors raised on purpose.

    Attributes:
        argument: Name of the argument with which the caller can have it otherwise; "" for none. The message
            says nothing of it: how an argument is given is the caller's, so that the command line names its
            option.
    """

    argument = ""

    def naming(self, argument: str) -> Self:
        """Return this error, which names an argument."""
        self.argument = argument
        return self


class UsageError(B2dError):
    """The caller asked for something that makes no sense."""


class ToolError(B2dError):
    """A program that the work needs is missing, failed, or did not come to an end."""


class EvidenceError(B2dError):
    """Evidence that cannot be read as asked.

    Attributes:
        layer: What was being read, in the field's words (``"VDI header"``).
        offset: Where, in bytes from the start of that layer's source; None when no one place is at fault.
        expected: What a sound image has there, if that can be said.
        found: What this one has.
        path: The file that was read, once somebody who knows it has said so.
    """

    layer = "evidence"
    path: str | None = None

    def __init__(
        self,
        message: str,
        *,
        layer: str | None = None,
        offset: int | None = None,
        expected: object = None,
        found: object = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.layer = layer or self.layer
        self.offset = offset
        self.expected = expected
        self.found = found

    def __str__(self) -> str:
        text = f"{self.path}: " if self.path else ""
        text += f"{self.layer}: {self.message}"
        if self.expected is not None or self.found is not None:
            text += f" (expected {self.expected}, found {self.found})"
        if self.offset is not None:
            text += f" at byte {self.offset:#x}"
        return text


class SourceError(EvidenceError):
    """The file itself cannot be read."""

    layer = "file"


class ContainerError(EvidenceError):
    """The disk container is not what its format demands."""

    layer = "container"


class MissingDataError(ContainerError):
    """The container holds no bytes for this range: a missing parent, or a file cut short."""


class PartitionError(EvidenceError):
    """The partition table is not what its format demands."""

    layer = "partition table"


class FilesystemError(EvidenceError):
    """A filesystem that cannot be read."""

    layer = "filesystem"


class NotFoundError(FilesystemError):
    """No such name in the filesystem."""


class UserdataError(EvidenceError):
    """A userdata tar, or a key in it, that cannot be read."""

    layer = "userdata"
