"""The facts about one disk, as the walk finds them. They are data: nothing here reads, judges or formats."""

from __future__ import annotations

from typing import Literal, Self

from b2dinspect.containers import Container
from b2dinspect.evidence.chain import LinkedFile, OpenDisk
from b2dinspect.findings import Finding
from b2dinspect.guests import profile_named
from b2dinspect.inspection.generation import Guest
from b2dinspect.inspection.volumes import Volume
from b2dinspect.partitions import PartitionTable
from b2dinspect.records import NamedTuple
from b2dinspect.source import ByteSource, RunsSource
from b2dinspect.userdata.admission import Visit
from b2dinspect.userdata.authorized_keys import KeyLine
from b2dinspect.userdata.tarball import Tarball

Source = Literal["fresh", "data", "residue"]
Owner = Literal["ours", "other", "unknown", "nobody"]
Sure = Literal["certain", "likely"]
DiskState = Literal["fresh", "provisioned", "partitioned", "blank", "foreign", "damaged", "incomplete"]

Names = frozenset[bytes] | None
"""Names in /var/lib on the data partition; None when there is none or it cannot be read."""


class Magic(NamedTuple):
    """The marker, tested as the guests do: the first 29 bytes of the disk.

    Attributes:
        found: Whether they are equal to it.
        file_offset: Where byte 0 of the disk is in the container file; None when it is not stored.
        data: What is there instead of it, or it.
        damaged_at: Virtual offsets of the bytes that differ, when most of them do not.
        copy_offset: Virtual offset of the marker's second copy, the content of the tar's first entry, when
            the one at byte 0 is gone. fdisk leaves it when it makes an MBR.
        in_partitions: Numbers of the partitions that begin with it, where no guest looks for it.
        is_alone: Whether it is there without a tar: zeros, or the end of a line, fill its sector.
    """

    found: bool
    file_offset: int | None
    data: bytes
    damaged_at: tuple[int, ...] = ()
    copy_offset: int | None = None
    is_alone: bool = False
    in_partitions: tuple[int, ...] = ()


class Choice(NamedTuple):
    """A guest's decision at its next boot.

    Attributes:
        guest: The generation's name.
        action: What it does.
        volume: What it mounts, for ``mount``.
        keeps_userdata: Whether it saves the first 4096 bytes before it formats.
        reason: Why, in one sentence.
        fails: Why it comes to nothing all the same; "" when it does not.
    """

    guest: str
    action: Literal["mount", "format", "leave"]
    volume: Volume | None
    keeps_userdata: bool
    reason: str
    fails: str = ""


class DataChoice(NamedTuple):
    """The volume that holds the data, as far as the disk tells.

    Whether a guest gets to it is another question: see ``takers``.

    Attributes:
        volume: The volume.
        by: ``label`` when it carries the label, ``fallback`` when it is the first ext4 or btrfs.
        takers: The guest generations that would mount it, were this the only disk.
        others: More volumes with the label.
    """

    volume: Volume
    by: Literal["label", "fallback"]
    takers: tuple[str, ...]
    others: tuple[Volume, ...] = ()


class Userdata(NamedTuple):
    """A userdata tar, or what is left of one.

    Attributes:
        source: ``fresh`` at the start of the disk, ``data`` on the data partition, ``residue`` of a fresh
            one.
        path: Path on the data partition; "" for the other two.
        content: The tar as a source; offsets in ``tar`` count in it.
        virtual_offset: Of its first byte; None when no single place holds it.
        file_offset: The same in the container file.
        size: Bytes.
        tar: What it holds.
        kept: What the guest's first 4096 bytes of it hold, for ``fresh``.
    """

    source: Source
    path: str
    content: ByteSource
    volume: Volume | None
    virtual_offset: int | None
    file_offset: int | None
    size: int
    tar: Tarball
    kept: Tarball | None = None

    def locate(self, offset: int) -> tuple[int | None, int | None]:
        """Return the virtual and the file offset of a byte of the tar."""
        return self._virtual(offset), self.content.locate(offset)

    def _virtual(self, offset: int) -> int | None:
        if self.volume is None:
            return (self.virtual_offset or 0) + offset
        if not isinstance(self.content, RunsSource):
            return None
        within = self.content.parent_offset(offset)
        return None if within is None else self.volume.partition.offset + within


class Resemblance(NamedTuple):
    """What somebody else's disk seems to be.

    Attributes:
        what: In words, "Ubuntu 22.04".
        sure: ``certain`` when its own bytes say so, ``likely`` when they fit.
        by: What it is told by, and where.
        of: The part of the disk that it is told of, where that is not all of it; "" for the disk.
    """

    what: str
    sure: Sure
    by: str
    of: str = ""


class Ownership(NamedTuple):
    """Whose disk it is.

    Attributes:
        owner: ``ours`` is boot2docker's or minikube's, ``other`` somebody else's; ``unknown`` holds
            something that nothing says anything about, ``nobody`` is blank.
        sure: How sure that is.
        evidence: What says that it is ours, or was written over somebody else's, a sentence for each sign.
        seems: What else it seems to be, surest first.
        is_seen: Whether all was there to be looked at; else something more may be in what is missing.
    """

    owner: Owner
    sure: Sure
    evidence: tuple[str, ...] = ()
    seems: tuple[Resemblance, ...] = ()
    is_seen: bool = True

    @property
    def is_ours(self) -> bool:
        """Whether this may be taken for a boot2docker disk, and changed as one."""
        return self.owner == "ours"

    @property
    def text(self) -> str:
        """Whose it is, and by what, in one sentence."""
        if self.is_ours:
            return f"boot2docker's: {'; '.join(self.evidence)}"
        if self.seems:
            first = self.seems[0]
            signs = "; ".join(self.evidence)
            place = "is on it" if self.is_seen else "is in what this evidence holds of it"
            more = f"{signs}, all the same" if signs else f"nothing of boot2docker {place}"
            by = first.by.removesuffix(f" of {first.of}") if first.of else first.by
            return f"{first.of or 'this'} seems to be {first.what} ({first.sure}: {by}); {more}"
        if self.owner == "nobody":
            return "blank"
        if self.evidence:
            return (
                f"{'; '.join(self.evidence)}, but the files on it are not boot2docker's, as far as they tell"
            )
        if self.sure == "likely":
            return "nothing can be told of whose it is: this evidence does not hold enough of the disk"
        return "nothing says whose it is: no label, marker, userdata.tar or directory of boot2docker"


class FoundKey(NamedTuple):
    """One line of an authorized_keys file that is meant to be a key.

    Attributes:
        tar: The userdata that holds it.
        file: Name in the tar.
        line: The line itself.
        is_accepted: Whether sshd lets the key in by the line as the guest has it: a cut may have taken
            some of it, its time may have passed, or others may write to the file.
        in_force: Whether the guest's sshd would read the line at the next login, and let the key in.
        why_not: Why not; "" when it is in force.
        refusal: Why sshd would refuse the key though the line is sound; "" when it does not.
        proviso: What the guest's sshd must be for the line to count; "" for any.
    """

    tar: Userdata
    file: str
    line: KeyLine
    is_accepted: bool
    in_force: bool
    why_not: str
    refusal: str = ""
    proviso: str = ""

    @property
    def source(self) -> Source:
        """Where its tar is."""
        return self.tar.source


class Inspection(NamedTuple):
    """All facts about one disk. A context manager, which keeps the disk open; or call ``close()``.

    Attributes:
        path: As the user gave it.
        file_size: Bytes of the file as opened (unpacked, for a gzip; of the disk alone, in an OVA).
        origin: ``file``, ``block device``, ``gzip``, ``xz``, ``bzip2``, ``zstd``, ``ova`` or ``stream``.
        links: The further files of the disk: parents, extents, data files.
        container: The virtual disk; stays open for reading.
        magic: The marker test.
        table: The partition table.
        volumes: What is on each partition, or on the whole disk when there is no table.
        living: Filesystems and swap areas that no table names: overwritten, shifted, or their table is gone.
        choices: What each generation would do at its next boot, were this the only disk, as ``PROFILES`` go.
        data: The volume that holds the data, if there is one.
        ownership: Whose disk it is.
        guest: Which generation made the disk.
        state: See the README's list.
        reason: Why this state, in one sentence.
        userdata: All tars found, most authoritative first.
        keys: All key lines found, in the same order.
        problems: What could not be read on the way.
        visit: The time and the address for which it is told whom the keys let in.
        has_old_layout: Whether the data partition has a directory ``vm``, which is automount's place for it.
        opened: The files, if they are this one's to close.
    """

    path: str
    file_size: int
    origin: str
    links: tuple[LinkedFile, ...]
    container: Container
    magic: Magic
    table: PartitionTable
    volumes: tuple[Volume, ...]
    living: tuple[Volume, ...]
    choices: tuple[Choice, ...]
    data: DataChoice | None
    ownership: Ownership
    guest: Guest
    state: DiskState
    reason: str
    userdata: tuple[Userdata, ...]
    keys: tuple[FoundKey, ...]
    problems: tuple[Finding, ...]
    visit: Visit
    has_old_layout: bool = False
    opened: OpenDisk | None = None

    def close(self) -> None:
        """Close the disk; the facts stay, and what was not read yet cannot be read any more."""
        if self.opened is not None:
            self.opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def formatters(self) -> tuple[str, ...]:
        """The generations that would format the disk at their next boot."""
        return tuple(choice.guest for choice in self.choices if choice.action == "format")

    def of_source(self, source: Source) -> Userdata | None:
        """Return the first tar of that source."""
        return next((item for item in self.userdata if item.source == source), None)

    @property
    def effective(self) -> Userdata | None:
        """The tar that decides who may log in: the data partition's, else the one of a fresh disk.

        Where the disk has the old layout, automount has no other place for it.
        """
        data = self.of_source("data")
        if self.has_old_layout and self.guest.profile == "automount":
            path = profile_named("automount").userdata_path(has_old_layout=True)
            data = next((one for one in self.userdata if one.source == "data" and one.path == path), None)
        if self.state == "provisioned":
            return data
        return self.of_source("fresh") or data
