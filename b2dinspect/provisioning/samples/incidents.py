"""Broken machines to practise on: one for each thing that goes wrong in real life.

Each is made by a whole provision with a fault, or by one change to a healthy machine. What the doctor is
expected to find is written by hand in ``sample_images/incidents/manifest.json``.
"""

from __future__ import annotations

import io
import json
import lzma
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from b2dinspect.containers.vmdk import layout
from b2dinspect.containers.vmdk.reader import VmdkContainer
from b2dinspect.containers.writers import new_disk
from b2dinspect.evidence.file import open_evidence
from b2dinspect.guests import profile_named
from b2dinspect.identity import PINNED_TIME, Identities
from b2dinspect.machine.config import STORE, store_folder
from b2dinspect.machine.packed import unpack_into
from b2dinspect.newfile import NewFile, NewFolder
from b2dinspect.partitions import read_table
from b2dinspect.provisioning.disk.ext4 import PartitionSpan, editing, put
from b2dinspect.provisioning.disk.images import WorkDisk
from b2dinspect.provisioning.disk.rework import opened
from b2dinspect.provisioning.events import Finished
from b2dinspect.provisioning.host.drivers import DRIVERS
from b2dinspect.provisioning.host.host import write_new
from b2dinspect.provisioning.keypair import SAMPLE_KEYS, KeyPair, sample_key
from b2dinspect.provisioning.pipeline import provision
from b2dinspect.provisioning.samples.dataroot import daemon_line, data_root, folders_of
from b2dinspect.provisioning.stages import DEFAULT_SIZE, Plan
from b2dinspect.records import NamedTuple
from b2dinspect.source import SECTOR
from b2dinspect.userdata.tarball import build_userdata

"""Bytes that may come out of a packed incident: all of the tar, which holds no bytes for a hole."""
Tweak = Callable[[Path], None]


class Incident(NamedTuple):
    """A machine with one thing wrong.

    Attributes:
        name: Of the machine.
        row: Number in the doctor's list; 0 for a healthy one.
        story: What its owner sees.
        fault: What goes wrong in the provision; "" for nothing.
        tweak: What is changed afterwards.
        driver: Whose machine it is.
        guest: Who formatted the disk.
        size: Virtual size in bytes.
        strangers: Whether other keys come before the owner's in the tar.
        docker: Whether it was provisioned behind the login, too.
    """

    name: str
    row: int
    story: str
    fault: str = ""
    tweak: Tweak | None = None
    driver: str = "virtualbox"
    guest: str = "autoformat"
    size: int = DEFAULT_SIZE
    strangers: bool = False
    docker: bool = False


def practice_key(number: int) -> KeyPair:
    """Return one of the key pairs of these machines. Everybody has them: never use one."""
    path = SAMPLE_KEYS / f"practice-{number}"
    return KeyPair(path.read_bytes(), path.with_name(f"{path.name}.pub").read_bytes())


def _other_key(folder: Path) -> None:
    pair = practice_key(2)
    for name, data in (("id_rsa", pair.private), ("id_rsa.pub", pair.public)):
        (folder / name).unlink()
        write_new(folder / name, data, 0o600)


def _no_public_key(folder: Path) -> None:
    (folder / "id_rsa.pub").unlink()


def _own_public_key(folder: Path) -> None:
    """Leave only the owner's key in id_rsa.pub, as it was made; the tar got more."""
    (folder / "id_rsa.pub").write_bytes(practice_key(1).public)


def _empty_key(folder: Path) -> None:
    (folder / "id_rsa").write_bytes(b"")


def _vmware(folder: Path) -> None:
    _set_driver(folder, "vmwarefusion")
    (folder / "disk.vmdk").rename(folder / f"{folder.name}.vmdk")
    write_new(folder / "userdata.tar", build_userdata(practice_key(1).public), 0o600)


def _set_driver(folder: Path, driver: str) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_bytes())
    config["DriverName"] = driver
    path.write_bytes(json.dumps(config, indent=4).encode())


def _container_driver(folder: Path) -> None:
    _set_driver(folder, "docker")
    (folder / "disk.qcow2").unlink()


def _other_grain(folder: Path) -> None:
    """Let one entry of the redundant grain table point elsewhere."""
    path = folder / "disk.vmdk"
    data = bytearray(path.read_bytes())
    directory = int.from_bytes(data[layout.field_offset("rgd_offset") :][:8], "little") * SECTOR
    table = int.from_bytes(data[directory : directory + 4], "little") * SECTOR
    entry = next(at for at in range(table, table + 2048, 4) if any(data[at : at + 4]))
    data[entry : entry + 4] = (int.from_bytes(data[entry : entry + 4], "little") + 128).to_bytes(4, "little")
    path.write_bytes(data)


def _fixed_vhd(folder: Path) -> None:
    write_new(folder / "fixed.vhd", bytes(SECTOR), 0o600)


def _larger(folder: Path) -> None:
    """Make the container larger, as VBoxManage modifyhd does."""
    path = folder / "disk.vmdk"
    with opened(path) as old, NewFile(path, force=True, mode=0o600) as file:
        disk = WorkDisk(new_disk(old.format, file, DEFAULT_SIZE, Identities.from_seed("larger"), like=old))
        disk.load(old)
        disk.writer.flush()


def _containers(folder: Path) -> None:
    """Put there what an older boot2docker left with aufs, and let a newer one have been up since."""
    path = folder / "disk.vmdk"
    newer = daemon_line("18.09.1", "overlay2", "2019-02-01T08:00:00.000000000Z")
    files = data_root(log=newer)
    with opened(path) as old, NewFile(path, force=True, mode=0o600) as file:
        disk = WorkDisk(new_disk(old.format, file, old.size, Identities.from_seed("containers"), like=old))
        disk.load(old)
        table = read_table(disk)
        part = next(one for one in table.partitions if one.number == 1)
        with editing(
            PartitionSpan(disk, part.offset, part.size), Identities.from_seed("containers")
        ) as edits:
            put(edits, files, folders_of(files))
        disk.writer.flush()


def _other_uuid(folder: Path) -> None:
    _write_vbox(folder, [("11111111-2222-4333-8444-555555555555", "../disk.vmdk")])


def _snapshot(folder: Path) -> None:
    """Put a differencing image over the disk, as a VirtualBox snapshot does."""
    base = folder / "disk.vmdk"
    with open_evidence(str(base)) as file:
        below = VmdkContainer(file)
    ids = Identities.from_seed(f"{folder.name} snapshot")
    name = f"{{{ids.uuid('vmdk image')}}}.vmdk"
    snapshots = folder / folder.name / "Snapshots"
    snapshots.mkdir(parents=True)
    with NewFile(snapshots / name, mode=0o600) as child:
        new_disk(below.format, child, below.size, ids).flush()
    _give_parent(snapshots / name, base, below)
    _write_vbox(
        folder, [(below.identity, "../disk.vmdk"), (str(ids.uuid("vmdk image")), f"Snapshots/{name}")]
    )


def _give_parent(child: Path, base: Path, below: VmdkContainer) -> None:
    data = bytearray(child.read_bytes())
    start = int.from_bytes(data[layout.field_offset("descriptor_offset") :][:8], "little") * SECTOR
    length = int.from_bytes(data[layout.field_offset("descriptor_size") :][:8], "little") * SECTOR
    text = bytes(data[start : start + length]).rstrip(b"\0").decode()
    parent = base.read_bytes()[start : start + length].decode("latin-1")
    cid = next(line[4:] for line in parent.splitlines() if line.startswith("CID="))
    nobody = "00000000-0000-0000-0000-000000000000"
    text = text.replace("parentCID=ffffffff", f'parentCID={cid}\nparentFileNameHint="../../disk.vmdk"')
    text = text.replace(f'ddb.uuid.parent="{nobody}"', f'ddb.uuid.parent="{below.identity}"')
    data[start : start + length] = text.encode().ljust(length, b"\0")
    child.write_bytes(data)


def _write_vbox(folder: Path, chain: list[tuple[str, str]]) -> None:
    """Write NAME.vbox with a chain of disks, each the child of the one before; the last one is attached."""
    opening = "".join(
        f'<HardDisk uuid="{{{uuid}}}" location="{place}" format="VMDK" type="Normal">'
        for uuid, place in chain
    )
    text = f"""<?xml version="1.0"?>
<VirtualBox xmlns="http://www.virtualbox.org/" version="1.16-linux">
  <Machine uuid="{{b2d00000-0000-4000-8000-00000000beef}}" name="{folder.name}" OSType="Linux26_64">
    <MediaRegistry><HardDisks>{opening}{"</HardDisk>" * len(chain)}</HardDisks></MediaRegistry>
    <StorageControllers>
      <StorageController name="SATA" type="AHCI" PortCount="30" useHostIOCache="false" Bootable="true">
        <AttachedDevice type="HardDisk" hotpluggable="false" port="1" device="0">
          <Image uuid="{{{chain[-1][0]}}}"/>
        </AttachedDevice>
      </StorageController>
    </StorageControllers>
  </Machine>
</VirtualBox>
"""
    place = folder / folder.name
    place.mkdir(exist_ok=True)
    write_new(place / f"{folder.name}.vbox", text.encode(), 0o600)


INCIDENTS = {
    incident.name: incident
    for incident in (
        Incident("healthy-virtualbox", 0, "Nothing is wrong with this one."),
        Incident("healthy-hyperv", 0, "Nothing is wrong with this one.", driver="hyperv", guest="automount"),
        Incident("healthy-minikube", 0, "Nothing is wrong with this one.", driver="qemu2", guest="minikube"),
        Incident("key-mode", 1, "Error getting ssh command 'exit 0'.", "key-mode"),
        Incident("moved", 2, "open /old/place/moved/id_rsa: no such file or directory", "key-moved"),
        Incident("config-cut", 3, "unexpected end of JSON input", "config-cut"),
        Incident("key-empty", 3, "The host's disk was full yesterday.", tweak=_empty_key),
        Incident("key-regenerated", 4, "docker@192.168.99.100's password:", tweak=_other_key),
        Incident("imported", 5, "It came from boot2docker-cli, and works.", tweak=_no_public_key),
        Incident("never-formatted", 6, "A password is asked for, and all is gone after a reboot.", "old-iso"),
        Incident("marker-damaged", 6, "It never let anybody in.", "no-magic", guest="automount"),
        Incident("mkfs-failed", 7, "/ is tmpfs, no space left on device.", "mkfs-skipped"),
        Incident("vmware", 8, "It worked once.", "userdata-lost", _vmware),
        Incident("userdata-lost", 8, "Somebody cleaned up.", "userdata-lost", guest="automount"),
        Incident("power-cut", 8, "The power failed at the first boot.", "crash-before-move"),
        Incident("label-lost", 9, "unable to find a partition with the appropriate label", "wrong-label"),
        Incident("grain-tables", 10, "VERR_VD_VMDK_INVALID_HEADER", tweak=_other_grain),
        Incident("other-uuid", 11, "UUID of the medium does not match the registry.", tweak=_other_uuid),
        Incident("interrupted", 12, "Start fails since Ctrl-C.", "interrupted-create", _fixed_vhd, "hyperv"),
        Incident(
            "too-small", 13, "df is still small.", tweak=_larger, guest="automount", size=DEFAULT_SIZE // 2
        ),
        Incident("many-keys", 14, "I have several keys.", tweak=_own_public_key, strangers=True),
        Incident("key-cut", 14, "The key was pasted by hand.", "truncated-key"),
        Incident("switched-off", 15, "EXT4-fs errors after a power cut.", "unclean", guest="automount"),
        Incident("container", 16, "minikube does not start.", tweak=_container_driver, driver="qemu2"),
        Incident("containers-gone", 0, "All containers are gone since the upgrade.", tweak=_containers),
        Incident("snapshot", 17, "Yesterday's files are not on the disk.", tweak=_snapshot),
    )
}


def make(incident: Incident, folder: Path) -> Path:
    """Make the machine directory of an incident below ``folder``, and return it.

    Raises:
        UsageError: It exists.
        ToolError: A program that is needed is missing or failed.
    """
    pair = practice_key(1)
    if incident.strangers:
        strangers = (sample_key("large"), sample_key("new-owner"), sample_key("owner"))
        pair = KeyPair(pair.private, b"".join(line.rstrip() + b"\n" for line in (*strangers, pair.public)))
    driver = DRIVERS[incident.driver]
    plan = Plan(
        name=incident.name,
        driver=driver,
        profile=profile_named(incident.guest),
        format=driver.format,
        folder=folder,
        size=incident.size,
        key=pair,
        fault=incident.fault,
        ids=Identities.from_seed(f"incident {incident.name}"),
        docker=incident.docker,
    )
    for event in provision(plan):
        if isinstance(event, Finished) and incident.tweak is not None:
            incident.tweak(folder / incident.name)
    return folder / incident.name


def pack(folder: Path, readable: tuple[str, ...] = ()) -> bytes:
    """Return a machine directory as the bytes of a tar.xz that depend on nothing but its content.

    Args:
        folder: The directory.
        readable: Names of files that all can read (0644); the others are their owner's. Not every system
            keeps such modes.
    """
    place = folder.absolute().parent
    store = json.dumps(str(place.parent if place.name == "machines" else place))[1:-1]
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(folder.rglob("*")):
            member = tarfile.TarInfo(path.relative_to(folder.parent).as_posix())
            member.mtime, member.mode = PINNED_TIME, 0o644 if path.name in readable else 0o600
            if path.is_dir():
                member.type, member.mode = tarfile.DIRTYPE, 0o700
                tar.addfile(member)
                continue
            data = path.read_bytes()
            if path.name == "config.json":
                data = data.replace(store.encode(), STORE.encode()).replace(rb"\\", b"/")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return lzma.compress(buffer.getvalue(), preset=6)


def unpack(packed: Path, folder: Path) -> Path:
    """Unpack a machine directory below ``folder``; its config.json names the place.

    It appears whole or not at all.

    Raises:
        UsageError: It exists.
        SourceError: No packed machine directory, or more than ``MAX_UNPACKED`` bytes come out of it.
    """
    target = folder.absolute() / packed.name.removesuffix(".tar.xz")
    with NewFolder(target) as new:
        unpack_into(packed, new.temporary, target.name)
        config = new.temporary / "config.json"
        if config.is_file():
            move_config(config, f"{STORE}/machines/{target.name}", STORE, target)
    return target


def move_config(config: Path, own: str, store: str, target: Path) -> None:
    """Let config.json name where a machine lies now: its folder need not be called ``machines``.

    Args:
        config: The file.
        own: The machine's directory, as it names it.
        store: The store, as it names it.
        target: The machine's directory, absolute.
    """
    raw = config.read_bytes()
    for name, place in ((own, target), (store, store_folder(target))):
        raw = raw.replace(json.dumps(name)[1:-1].encode(), json.dumps(str(place))[1:-1].encode())
    config.write_bytes(raw)


def rebuild(folder: Path, names: tuple[str, ...] = ()) -> Iterator[tuple[str, int]]:
    """Make the packed incidents again in ``folder``, and yield each file's name and size."""
    folder.mkdir(parents=True, exist_ok=True)
    for incident in (INCIDENTS[name] for name in names or INCIDENTS):
        with tempfile.TemporaryDirectory(prefix="b2d-incident-") as scratch:
            made = make(incident, Path(scratch) / "machines")
            packed = pack(made, ("id_rsa",) if incident.fault == "key-mode" else ())
            shutil.rmtree(made)
        with NewFile(folder / f"{incident.name}.tar.xz", force=True) as file:
            file.pwrite(0, packed)
        yield f"{incident.name}.tar.xz", len(packed)
