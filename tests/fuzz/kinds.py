"""The kinds of input: how a sound one is made, and who reads it."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.fuzz import inputs
from tests.fuzz.edits import MAX_GROWN
from tests.fuzz.readers import (
    BACKUP,
    CERTIFICATE,
    DOCKER,
    DOCKER_FILES,
    DOOR,
    FILES,
    IMAGE,
    KEY,
    LINES,
    MACHINE,
    PACKED,
    PRIVATE,
    REQUESTS,
    SETTINGS,
    TAR,
)
from tests.fuzz.trial import Probe
from tests.oracles import PATH


class Kind(NamedTuple):
    """A kind of input.

    Attributes:
        name: Of the kind.
        make: Fills an empty folder with a sound input and returns the file to change.
        probes: Who reads it, each by its weight.
        is_text: Whether it is short, so that it may also grow.
        needs: Programs that make it.
        most: Bytes to which it may grow. A packed one grows a thousandfold, and to unpack it takes as long.
    """

    name: str
    make: Callable[[Path], Path]
    probes: Sequence[Probe]
    is_text: bool = False
    needs: tuple[str, ...] = ()
    most: int = MAX_GROWN

    @property
    def is_possible(self) -> bool:
        """Whether the programs are here."""
        return all(shutil.which(program, path=PATH) for program in self.needs)


_with = functools.partial

MKFS = ("mke2fs", "debugfs")
CONVERTED = {
    "VDI dynamic": ("vdi", "vdi"),
    "VDI static": ("vdi", "vdi", "static=on"),
    "VHD dynamic": ("vpc", "vhd", "subformat=dynamic,force_size=on"),
    "VHD fixed": ("vpc", "vhd", "subformat=fixed,force_size=on"),
    "VHDX dynamic": ("vhdx", "vhdx", "subformat=dynamic"),
    "VHDX fixed": ("vhdx", "vhdx", "subformat=fixed"),
    "VMDK monolithicSparse": ("vmdk", "vmdk", "subformat=monolithicSparse"),
    "VMDK streamOptimized": ("vmdk", "vmdk", "subformat=streamOptimized"),
    "VMDK twoGbMaxExtentSparse": ("vmdk", "vmdk", "subformat=twoGbMaxExtentSparse"),
    "qcow2 version 3": ("qcow2", "qcow2"),
    "qcow2 version 2": ("qcow2", "qcow2", "compat=0.10"),
    "qcow2 compressed": ("qcow2", "qcow2", "-c"),
    "qcow2 extended L2": ("qcow2", "qcow2", "extended_l2=on"),
    "qcow2 small clusters": ("qcow2", "qcow2", "cluster_size=512"),
    "qcow2 data file": ("qcow2", "qcow2", "data_file=data.raw"),
}
"""What qemu-img makes: format, suffix, options."""


def _kinds() -> Iterator[Kind]:
    yield from _disks()
    yield from _containers()
    yield from _machines()
    yield from _keys()
    yield from _docker_files()


def _disks() -> Iterator[Kind]:
    yield Kind("raw minikube: GPT, ext4, tar", inputs.raw, FILES, needs=MKFS)
    yield Kind("raw fresh: marker, tar", _with(inputs.raw, state="fresh"), IMAGE)
    yield Kind("raw partitioned: GPT", _with(inputs.raw, state="partitioned"), IMAGE, needs=MKFS)
    yield Kind("raw docker data-root", inputs.docker, DOCKER, needs=MKFS)
    yield Kind("raw MBR: extended, logical", inputs.logical, IMAGE, needs=("sfdisk",))
    for name in ("xfs", "btrfs"):
        yield Kind(f"raw {name}", _with(inputs.foreign, kind=name), IMAGE, needs=(f"mkfs.{name}",))
    yield Kind("raw in pieces", inputs.pieces, IMAGE)
    yield Kind("userdata tar on a disk", inputs.userdata, (*TAR, *IMAGE), True)
    for name in ("gz", "xz", "bz2", "zst"):
        yield Kind(f"packed {name}", _with(inputs.packed, name=name), PACKED, True, most=64 << 10)


def _containers() -> Iterator[Kind]:
    yield Kind("VDI MBR, swap, ext4", _with(inputs.sample, name="provisioned-automount.vdi"), FILES)
    yield Kind("VDI GPT, swap, ext4", _with(inputs.sample, name="provisioned-autoformat.vdi"), FILES)
    yield Kind("VDI keys-differ", _with(inputs.sample, name="keys-differ.vdi"), IMAGE)
    yield Kind("VDI magic-damaged", _with(inputs.sample, name="magic-damaged.vdi"), IMAGE)
    yield Kind("VDI version 0.1", inputs.old_vdi, IMAGE)
    yield Kind("VDI with a parent", inputs.vdi_child, IMAGE)
    yield Kind("VHD with a parent", inputs.vhd_child, IMAGE)
    yield Kind("VHDX with a parent", inputs.vhdx_child, IMAGE)
    for name, words in CONVERTED.items():
        yield Kind(name, _with(inputs.converted, words=words), IMAGE, needs=(*MKFS, "qemu-img"))
    extent = _with(inputs.extent, words=CONVERTED["VMDK twoGbMaxExtentSparse"])
    yield Kind("VMDK extent of two", extent, IMAGE, needs=(*MKFS, "qemu-img"))
    yield Kind("VMDK descriptor", inputs.descriptor, IMAGE, True, needs=(*MKFS, "qemu-img"))
    yield Kind("qcow2 with a parent", inputs.chain, IMAGE, needs=(*MKFS, "qemu-img"))
    yield Kind("OVA", inputs.ova, IMAGE, needs=(*MKFS, "qemu-img"))


def _machines() -> Iterator[Kind]:
    for target in ("config.json", "id_rsa", "id_rsa.pub"):
        yield Kind(f"machine's {target}", _with(inputs.machine, target=target), MACHINE, True)
    for target in ("ca.pem", "server.pem"):
        yield Kind(f"machine's {target}", _with(inputs.door, target=target), DOOR, True)
    yield Kind("certificate", inputs.certificate, CERTIFICATE, True)
    yield Kind("machine's NAME.vbox", inputs.snapshot, (*SETTINGS, *MACHINE), True)
    yield Kind("backup of a repair", inputs.backup, BACKUP, True)
    yield Kind("ssh requests", inputs.requests, REQUESTS, True)


def _keys() -> Iterator[Kind]:
    for kind in ("pem", "ed25519", "ecdsa", "rsa"):
        needs = () if kind == "pem" else ("ssh-keygen",)
        private = _with(inputs.private_key, kind=kind)
        yield Kind(f"private key {kind}", private, (*PRIVATE, *KEY), True, needs)
    yield Kind("authorized_keys", inputs.key_lines, (*LINES, *KEY), True)


def _docker_files() -> Iterator[Kind]:
    for name, probes in DOCKER_FILES.items():
        yield Kind(f"docker's {name}", _with(inputs.docker_file, name=name), probes, True)


KINDS = {kind.name: kind for kind in _kinds()}
