"""How each sample disk is made: pinned identities, pinned times, no program of others.

Facts about the guests are in
``guests``; what each sample is expected to show is written by hand in ``sample_images/manifest.json``.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from b2dinspect.containers.raw.writer import RawWriter
from b2dinspect.containers.vdi.writer import Identity, VdiWriter
from b2dinspect.guests import SATA, data_sectors, profile_named
from b2dinspect.identity import NAMESPACE, Identities
from b2dinspect.newfile import NewFile
from b2dinspect.provisioning.disk.ext4 import PartitionSpan, Placed, editing, fill, make_ext4, put
from b2dinspect.provisioning.disk.images import stored_chunks
from b2dinspect.provisioning.disk.overlay import Overlay
from b2dinspect.provisioning.keypair import sample_key
from b2dinspect.provisioning.samples.dataroot import data_root, folders_of
from b2dinspect.provisioning.simulated.layout import swap_writes, table_writes
from b2dinspect.provisioning.simulated.simulate import USERDATA
from b2dinspect.provisioning.stages import DEFAULT_SIZE
from b2dinspect.records import NamedTuple
from b2dinspect.source import SECTOR, MemorySource, RunsSource
from b2dinspect.userdata.tarball import AUTHORIZED_KEYS2, GUEST_KEEPS, build_userdata

MIB = 1 << 20
DISK_SIZE = DEFAULT_SIZE
IDENTITIES = Identities(NAMESPACE)


class SampleWrite(NamedTuple):
    """Bytes for a virtual offset."""

    offset: int
    data: bytes


@dataclass
class SampleDisk:
    """A disk as a list of writes, in the order in which they allocate blocks."""

    size: int = DISK_SIZE
    writes: list[SampleWrite] = field(default_factory=list)

    def put(self, offset: int, data: bytes) -> None:
        """Write ``data`` at ``offset``."""
        self.writes.append(SampleWrite(offset, data))


def fresh(public_key: bytes, size: int = DISK_SIZE) -> SampleDisk:
    """Return a disk as the host makes it: the tar at byte 0, zeros behind it."""
    return SampleDisk(size, [SampleWrite(0, build_userdata(public_key))])


def provisioned(
    guest: str,
    userdata: bytes | None,
    original: bytes | None = None,
    size: int = DISK_SIZE,
    more: tuple[Placed, ...] = (),
) -> SampleDisk:
    """Return a disk after its first boot.

    Args:
        guest: The generation that booted it.
        userdata: Content of var/lib/boot2docker/userdata.tar; None leaves the file out.
        original: The tar that was at byte 0 before, of which busybox's fdisk leaves all but 66 bytes.
        size: Bytes.
        more: Files besides.
    """
    profile = profile_named(guest)
    disk = SampleDisk(size)
    if original and profile.table == "mbr":
        disk.put(0, original)
    first, last = data_sectors(profile, size // SECTOR)
    swap = swap_writes(profile, SATA, IDENTITIES) if profile.swap else []
    for offset, data in (*table_writes(profile, size, SATA, IDENTITIES), *swap):
        disk.put(offset, data)
    partition = Overlay(RunsSource(MemorySource(b""), [], (last + 1 - first) * SECTOR))
    place = PartitionSpan(partition, 0, partition.size)
    make_ext4(place, profile, guest, IDENTITIES)
    with editing(place, IDENTITIES) as edits:
        fill(edits, profile, () if userdata is None else (Placed(USERDATA, userdata),))
        put(edits, more, folders_of(more))
    for offset, data in stored_chunks(partition):
        disk.put(first * SECTOR + offset, data)
    return disk


# --- the samples -------------------------------------------------------------------------------------------


def kept(public_key: bytes) -> bytes:
    """Return what the guest keeps of the tar for this key."""
    return build_userdata(public_key)[:GUEST_KEEPS]


def magic_damaged() -> SampleDisk:
    """One byte of the marker is wrong: the 5 of byte 4 became a 7 (``boot7docker``)."""
    disk = fresh(sample_key("owner"))
    disk.put(4, b"7")
    return disk


def keys_differ() -> SampleDisk:
    """Somebody replaced only the second copy of the key."""
    tar = bytearray(build_userdata(sample_key("owner")))
    start = tar.index(AUTHORIZED_KEYS2 + b"\0")
    other = build_userdata(sample_key("new-owner"))
    tar[start:] = other[other.index(AUTHORIZED_KEYS2 + b"\0") :]
    return provisioned("autoformat", bytes(tar[:GUEST_KEEPS]))


def out_of_order() -> SampleDisk:
    """The provisioned disk with its blocks stored last first: the block map runs backwards."""
    disk = provisioned("autoformat", kept(sample_key("owner")))
    disk.writes.reverse()
    return disk


Recipe = Callable[[], SampleDisk]
RECIPES: dict[str, Recipe] = {
    "fresh.raw": lambda: fresh(sample_key("owner"), 64 * MIB),
    "fresh.vdi": lambda: fresh(sample_key("owner")),
    "blank.vdi": SampleDisk,
    "magic-damaged.vdi": magic_damaged,
    "provisioned-automount.vdi": lambda: provisioned(
        "automount", kept(sample_key("owner")), build_userdata(sample_key("owner"))
    ),
    "provisioned-autoformat.vdi": lambda: provisioned("autoformat", kept(sample_key("owner"))),
    "provisioned-minikube.vdi": lambda: provisioned("minikube", kept(sample_key("owner"))),
    "out-of-order.vdi": out_of_order,
    "userdata-cut.vdi": lambda: provisioned("autoformat", kept(sample_key("large"))),
    "userdata-missing.vdi": lambda: provisioned("autoformat", None),
    "containers.vdi": lambda: provisioned(
        "automount", kept(sample_key("owner")), build_userdata(sample_key("owner")), more=data_root()
    ),
    "keys-differ.vdi": keys_differ,
    "key-replaced.vdi": lambda: provisioned(
        "automount", kept(sample_key("new-owner")), build_userdata(sample_key("owner"))
    ),
}
"""Every sample by the name of its image."""


def build_sample(name: str, path: Path) -> None:
    """Make the image of one sample at ``path``, which must not exist."""
    disk = RECIPES[name]()
    with NewFile(path) as file:
        writer: RawWriter | VdiWriter
        if path.suffix == ".raw":
            writer = RawWriter(file, disk.size)
        else:
            identity = Identity(IDENTITIES.uuid(f"{name} create"), IDENTITIES.uuid(f"{name} modify"))
            writer = VdiWriter(file, disk.size, identity=identity)
        for offset, data in disk.writes:
            writer.pwrite(offset, data)
        writer.flush()


def rebuild(folder: Path) -> Iterator[tuple[str, int, int]]:
    """Make every sample, packed, in ``folder``, and yield its name and its bytes packed and unpacked.

    Of a ``manifest.json`` that is there, only the hashes and sizes are brought up to date: what people wrote
    in it stays.
    """
    path = folder / "manifest.json"
    manifest = json.loads(path.read_bytes()) if path.is_file() else {"samples": {}}
    folder.mkdir(parents=True, exist_ok=True)
    for name in RECIPES:
        entry = manifest["samples"].setdefault(name, {})
        with tempfile.TemporaryDirectory(prefix="b2d-sample-") as scratch:
            image = Path(scratch) / name
            build_sample(name, image)
            packed = gzip.compress(image.read_bytes(), 9, mtime=0)
            entry["sha256"], entry["size"] = digest(image), image.stat().st_size
        _write(folder / f"{name}.gz", packed)
        yield f"{name}.gz", len(packed), entry["size"]
    _write(path, (json.dumps(manifest, indent=2) + "\n").encode())


def _write(path: Path, data: bytes) -> None:
    with NewFile(path, force=True) as file:
        file.pwrite(0, data)


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
