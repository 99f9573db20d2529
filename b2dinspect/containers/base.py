"""What every container format offers: a ByteSource of the virtual disk, and facts about the file."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from typing import ClassVar

from b2dinspect.containers.tables import MapTable
from b2dinspect.fields import Header
from b2dinspect.findings import Finding
from b2dinspect.records import NamedTuple
from b2dinspect.source import ByteSource, FileSource, JoinedSource


class ParentLink(NamedTuple):
    """What an image says of the one below it. Containers follow none of this.

    Attributes:
        names: Where it is, as written in the image, the likeliest first. Never to be trusted.
        identity: The parent's ``identity``; "" when the format keeps none.
        format: The parent's format, if the image says so.
    """

    names: tuple[str, ...]
    identity: str = ""
    format: str | None = None


class Container(ByteSource):
    """A virtual disk. ``size`` is the virtual size; offsets given to it are virtual, in bytes.

    It is read and surveyed once. What it stands on it only names; it is attached when somebody found it.

    Attributes:
        format: ``"raw"``, ``"vdi"``, …
        variant: The format's own word for its kind (``"dynamic"``).
        file: The container file.
        allocated_size: Bytes of the virtual disk that the file stores.
        headers: Decoded structures, in the order in which a reader meets them.
        findings: What is odd about the container itself.
        identity: By which a child knows this image as its parent; "" when the format has none.
        parent_link: What the image says of its parent; None when it has none.
        parent: The parent's disk; without it, what only the parent holds is missing.
        is_packed: Whether ``file`` holds blocks packed, which then have no place that ``extents`` could tell.
        data_file_name: File with the disk's content, as written in the image; "" for this one.
    """

    format: ClassVar[str]
    variant: str
    file: ByteSource
    allocated_size: int
    headers: tuple[Header, ...]
    findings: tuple[Finding, ...]
    identity: str = ""
    parent_link: ParentLink | None = None
    parent: ByteSource | None = None
    is_packed: bool = False
    data_file_name: str = ""

    @classmethod
    def read_identity(cls, file: ByteSource) -> str:
        """Return an image's ``identity`` from its headers alone; no table is looked at.

        Raises:
            ContainerError: The headers make no sense.
        """
        return ""

    def attach(self, *, parent: ByteSource | None = None, data_file: ByteSource | None = None) -> None:
        """Give the disk what it stands on, and judge anew what depends on that. Tables are not read again.

        Args:
            parent: The parent's disk; of no use to an image without ``parent_link``.
            data_file: The file called ``data_file_name``; of no use to an image that names none.
        """
        if parent is not None and self.parent_link is not None:
            self.parent = parent
        self.findings = tuple(self._judge())

    def _judge(self) -> Iterable[Finding]:
        """Return all findings, from what was read and what is attached."""
        return self.findings

    def tables(self) -> Iterator[MapTable]:
        """Yield the tables in ``file`` that say where blocks are, the one that leads to the others first."""
        return iter(())

    def packed_at(self, offset: int) -> int | None:
        """Return where in ``file`` the packed block begins that holds a byte; None where none does."""
        return None

    @abstractmethod
    def describe(self) -> dict[str, str]:
        """Return the format's own facts that a person wants on the first screen, named."""


def stored_size(file: ByteSource) -> int:
    """Return the bytes that the examiner's file system really stores for ``file``."""
    return min(file.allocated, file.size) if isinstance(file, FileSource | JoinedSource) else file.size
