"""Files that are disks in formats which are not read: recognised and named, never "raw" or "damaged"."""

from __future__ import annotations

import struct
from pathlib import Path

from tests.disks import MIB, make_disk, new_path
from tests.museum.exhibit import exhibit
from tests.oracles import run

REFUSED = "convert"


@exhibit("EnCase's E01: an examiner's image, of whatever disk.", "unknown", refused="EnCase")
def ewf() -> Path:
    return make_disk(MIB, (0, b"EVF\x09\x0d\x0a\xff\0\x01\x01\0\0\0"), (13, b"header2"))


@exhibit("EnCase's second format.", "unknown", refused="EnCase")
def ewf2() -> Path:
    return make_disk(MIB, (0, b"EVF2\x0d\x0a\x81\0"))


@exhibit("Apple's DMG: its name is in the last sector.", "unknown", refused="DMG")
def dmg() -> Path:
    return make_disk(MIB, (MIB - 512, b"koly" + struct.pack(">II", 4, 512)))


@exhibit("AFF4 is a zip of its own kind.", "unknown", refused="AFF4")
def aff4() -> Path:
    import zipfile

    path = new_path("disk.aff4")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("container.description", "aff4://d3b0")
        archive.writestr("information.turtle", "@prefix aff4: <http://aff4.org/Schema#> .")
    return path


@exhibit("The older AFF.", "unknown", refused="AFF")
def aff() -> Path:
    return make_disk(MIB, (0, b"AFF10\r\n\0"))


@exhibit("Parallels' expanding disk, by qemu-img.", "unknown", refused="Parallels", programs=("qemu-img",))
def parallels() -> Path:
    return by_qemu("parallels")


@exhibit(
    "Parallels' disk.hdd folder: a description and an .hds.",
    "unknown",
    refused="Parallels",
    programs=("qemu-img",),
)
def parallels_folder() -> Path:
    folder = new_path("disk.hdd")
    folder.mkdir()
    by_qemu("parallels").rename(folder / "disk.hdd.0.{5fbaabe3-6958-40ff-92a7-860e329aab41}.hds")
    (folder / "DiskDescriptor.xml").write_text("<?xml version='1.0'?><Parallels_disk_image Version='1.0'/>")
    return folder


@exhibit("qcow of version 1.", "unknown", refused="qcow of version 1", programs=("qemu-img",))
def qcow1() -> Path:
    return by_qemu("qcow")


@exhibit("QED, qemu's abandoned one.", "unknown", refused="QED", programs=("qemu-img",))
def qed() -> Path:
    return by_qemu("qed")


@exhibit("VMware's SESparse, of a snapshot on ESXi.", "unknown", refused="SESparse")
def sesparse() -> Path:
    # Source: qemu, block/vmdk.c: constMagic 0xcafebabe, version 2.1
    return make_disk(MIB, (0, struct.pack("<QQQ", 0xCAFEBABE, 0x200000001, 131072)))


@exhibit("VMware's COWD, of an old ESX server.", "unknown", refused="COWD")
def cowd() -> Path:
    return make_disk(MIB, (0, b"COWD" + struct.pack("<I", 1)))


@exhibit("A zip with a disk in it.", "unknown", refused="zip")
def zipped() -> Path:
    import zipfile

    path = new_path("disk.zip")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("disk.vdi", bytes(1000))
    return path


@exhibit("A 7z archive.", "unknown", refused="7z")
def seven_zip() -> Path:
    return make_disk(MIB, (0, b"7z\xbc\xaf\x27\x1c\0\x04"))


@exhibit("Windows' WIM.", "unknown", refused="WIM")
def wim() -> Path:
    return make_disk(MIB, (0, b"MSWIM\0\0\0"))


def by_qemu(kind: str) -> Path:
    path = new_path(f"disk.{kind}")
    run("qemu-img", "create", "-q", "-f", kind, path, "64M")
    return path
