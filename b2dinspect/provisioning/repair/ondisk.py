"""What a repair changes on a disk, made in an overlay: nothing here reaches the image."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from b2dinspect.doctor.explanations import Mend
from b2dinspect.doctor.host import profile_of, unlabelled
from b2dinspect.errors import UsageError
from b2dinspect.identity import Identities
from b2dinspect.inspection.facts import Inspection
from b2dinspect.inspection.login import lets_in
from b2dinspect.inspection.volumes import Volume
from b2dinspect.provisioning.disk.ext4 import PartitionSpan, Placed, editing, fill, make_ext4
from b2dinspect.provisioning.disk.images import stored_chunks
from b2dinspect.provisioning.disk.overlay import Overlay
from b2dinspect.provisioning.keypair import KeyPair
from b2dinspect.provisioning.repair.merge import MergedTar, merge
from b2dinspect.provisioning.repair.replace import check_writable, put_userdata, relabel
from b2dinspect.provisioning.simulated.simulate import USERDATA
from b2dinspect.records import NamedTuple
from b2dinspect.source import SECTOR, ByteSource, Extent, SliceSource
from b2dinspect.userdata.authorized_keys import PublicKey, parse
from b2dinspect.userdata.tarball import GUEST_KEEPS, MAGIC, is_header, resized


class Wish(NamedTuple):
    """What the user asks of a repair.

    Attributes:
        key: The key pair to let in; None for the machine's own.
        is_new: Whether that key pair was made for this repair.
        drop: Fingerprints of keys, and names of entries of the tar, that are to go.
        is_cut: Whether the tar is to fit in what a guest keeps when it formats a disk.
        certs: Whether the machine is to get new certificates for a Docker client, too.
    """

    key: KeyPair | None = None
    is_new: bool = False
    drop: tuple[str, ...] = ()
    is_cut: bool = False
    certs: bool = False


class RepairStep(NamedTuple):
    """One thing done to the overlay, and how, in a few words."""

    mends: Mend
    how: str


class DiskPlan(NamedTuple):
    """A disk as it is to be.

    Attributes:
        overlay: The changes; None when nothing is to change.
        steps: What was done.
        merged: What becomes of the keys and files in the tar; None when that stays.
        rewrites: Whether the image itself must be written anew.
    """

    overlay: Overlay | None
    steps: tuple[RepairStep, ...]
    merged: MergedTar | None
    rewrites: bool


class Longer(ByteSource):
    """A disk with zeros behind its end.

    Args:
        base: The disk.
        size: Bytes, afterwards.
    """

    def __init__(self, base: ByteSource, size: int) -> None:
        self.base, self.size = base, size

    def _pread(self, offset: int, length: int) -> bytes:
        return self.base.pread(offset, max(0, min(length, self.base.size - offset))).ljust(length, b"\0")

    def extents(self, offset: int = 0, length: int | None = None) -> Iterator[Extent]:
        """Yield the extents of the disk below, and the zeros behind it."""
        start, end = self._clamp(offset, length)
        inside = min(end, self.base.size)
        if start < inside:
            yield from self.base.extents(start, inside - start)
        if (start := max(start, inside)) < end:
            yield Extent(start, end - start, "zero")


def plan_disk(
    disk: Inspection,
    needed: Collection[Mend],
    pair: KeyPair | None,
    wish: Wish,
    size: int | None = None,
    on_host: bytes | None = None,
) -> DiskPlan:
    """Work out what must change on a disk.

    Args:
        disk: The facts.
        needed: What the findings ask for.
        pair: The key pair to let in.
        wish: What the user asks for.
        size: Virtual bytes that the disk should have, if that is known.
        on_host: The tar in the machine directory that should be on the disk, if there is one.

    Raises:
        UsageError: The disk cannot be repaired; says why and what to do.
        WouldLoseError: Somebody's key or file does not fit.
        ToolError: A program that is needed is missing, or failed.
    """
    work = _Work(disk, pair, wish, on_host)
    wants_key = pair is not None and wish.key is not None and not lets_in_pair(disk, pair)
    wants_tar = "userdata" in needed or wants_key or bool(wish.drop)
    if "size" in needed and size is not None and size > disk.container.size:
        work.lengthen(size)
    if "tables" in needed:
        work.note("tables", "the image is written anew with one set of tables")
    if "marker" in needed:
        work.restore_marker()
    if "filesystem" in needed:
        work.make_filesystem()
    elif disk.state in ("fresh", "blank") or "marker" in needed:
        if wants_tar:
            work.put_at_start()
    else:
        volume = unlabelled(disk) or _data_volume(disk) if wants_tar or "label" in needed else None
        if volume is not None and "label" in needed:
            work.label(volume)
            wants_tar = wants_tar or disk.of_source("data") is None
            if pair is None and not wish.drop:
                wants_tar = False  # a label is mended without a key, too
        if volume is not None and wants_tar:
            work.put_on(volume)
    overlay = work.overlay if work.steps else None
    return DiskPlan(overlay, tuple(work.steps), work.merged, work.rewrites)


def lets_in_pair(disk: Inspection, pair: KeyPair) -> bool:
    """Tell whether a disk lets in one of the keys of a public key file."""
    wanted = [line.key.identity for line in parse(pair.public) if isinstance(line.key, PublicKey)]
    return any(lets_in(disk, identity) for identity in wanted)


class _Work:
    """A disk at work. Each method does one thing to the overlay and notes it."""

    def __init__(
        self, disk: Inspection, pair: KeyPair | None, wish: Wish, on_host: bytes | None = None
    ) -> None:
        self.disk, self.wish, self._on_host = disk, wish, on_host
        self.overlay = Overlay(disk.container)
        self.steps: list[RepairStep] = []
        self.merged: MergedTar | None = None
        self.rewrites = False
        self._pair = pair

    def note(self, mends: Mend, how: str) -> None:
        """Note a thing that was done."""
        self.steps.append(RepairStep(mends, how))
        self.rewrites = self.rewrites or mends in ("tables", "size")

    def lengthen(self, size: int) -> None:
        """Give the disk its full size."""
        if self.disk.state not in ("fresh", "blank") or self.disk.table.kind != "none":
            raise UsageError("only a disk that no guest has formatted is given its full size")
        self.overlay = Overlay(Longer(self.disk.container, size))
        self.note("size", f"{size} bytes instead of {self.disk.container.size}")

    def label(self, volume: Volume) -> None:
        """Label the data partition."""
        check_writable(volume)
        relabel(self.overlay, volume)
        self.note("label", f"{volume.partition.place} labelled boot2docker-data")

    def restore_marker(self) -> None:
        """Write the marker over a damaged one, when the rest of its tar header proves what it was."""
        self._must_be_unused()
        block = self.overlay.pread(0, SECTOR)
        restored = MAGIC + block[len(MAGIC) :]
        if not is_header(restored) and restored[257:262] != b"ustar":
            raise UsageError("what follows the damaged marker is no tar: nothing proves that it was one")
        if not is_header(restored):
            restored = resized(restored, len(MAGIC))
        self.overlay.pwrite(0, restored)
        self.note("marker", "the marker at byte 0, as it was")

    def put_at_start(self) -> None:
        """Put the key into the tar at byte 0 of a disk that no guest has formatted."""
        self._must_be_unused()
        old = None
        if (item := self.disk.of_source("fresh")) is not None:
            old = item.content.pread(0, item.size)
        elif self.disk.state == "blank" and (place := _first_data(self.disk)) is not None:
            raise UsageError(f"the disk is not empty: there is something at byte {place}")
        tar = self._merge(old, GUEST_KEEPS)
        self.overlay.pwrite(0, tar.ljust(len(old or b""), b"\0"))
        self.note("userdata", "the tar at byte 0, where the first boot takes the key from")

    def put_on(self, volume: Volume) -> None:
        """Put the key into userdata.tar on the data partition."""
        check_writable(volume)
        path = profile_of(self.disk).userdata_path(self.disk.has_old_layout)
        on_disk = (one for one in self.disk.userdata if one.source == "data" and one.path == path)
        old = next((one.content.pread(0, one.size) for one in on_disk), self._on_host)
        tar = self._merge(old, GUEST_KEEPS if self.wish.is_cut else None)
        how = put_userdata(self.overlay, volume, Placed(path.lstrip("/"), tar), Identities())
        self.note("userdata", f"userdata.tar: {how}")

    def make_filesystem(self) -> None:
        """Make the data partition's filesystem as the guest would have, where there is nothing at all."""
        profile = profile_of(self.disk)
        part = next((one for one in self.disk.table.partitions if one.number == 1), None)
        if part is None:
            raise UsageError("there is no partition 1 to make a filesystem on")
        if self.disk.living:
            raise UsageError("a filesystem lives on the disk that no table names: save it first")
        if (
            place := next(stored_chunks(SliceSource(self.overlay, part.offset, part.size)), None)
        ) is not None:
            raise UsageError(
                f"partition 1 is not empty: there is something at byte {part.offset + place[0]} of the disk. "
                "It is left alone; look at it first"
            )
        residue = self.disk.of_source("residue")
        old = residue.content.pread(0, residue.size) if residue else None
        tar = self._merge(old, None)
        target, ids = PartitionSpan(self.overlay, part.offset, part.size), Identities()
        make_ext4(target, profile, profile.name, ids)
        with editing(target, ids) as edits:
            fill(edits, profile, (Placed(USERDATA, tar),))
        self.note("filesystem", f"an ext4 on partition 1, which was empty, as {profile.name} makes it")

    def _merge(self, old: bytes | None, limit: int | None) -> bytes:
        if self._pair is None:
            raise UsageError("there is no key to put on the disk").naming("key")
        self.merged = merge(old, self._pair.public, drop=self.wish.drop, limit=limit, visit=self.disk.visit)
        return self.merged.tar

    def _must_be_unused(self) -> None:
        if self.disk.table.kind != "none" or self.disk.volumes or self.disk.living:
            raise UsageError("there is a table or a filesystem on the disk: byte 0 is not written")


def _first_data(disk: Inspection) -> int | None:
    """Return where the first byte that is not zero is, in chunks of 1 MiB."""
    return next((offset for offset, _ in stored_chunks(disk.container)), None)


def _data_volume(disk: Inspection) -> Volume:
    if disk.data is None:
        raise UsageError(f"there is no data partition to repair: {disk.reason}")
    if disk.data.others:
        raise UsageError("several partitions carry the label: decide which one is to lose it (e2label)")
    if disk.data.volume in disk.living:
        raise UsageError(
            f"no partition table names the filesystem at sector {disk.data.volume.partition.start}: "
            "no guest finds it before the table is restored, so nothing on it is changed"
        )
    return disk.data.volume
