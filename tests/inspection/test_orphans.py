"""A child without its parent is only unread: whichever of its blocks are stored, none is called damaged."""

from __future__ import annotations

import functools
import re

import pytest

from b2dinspect.containers import open_container
from b2dinspect.doctor.disk import examine
from b2dinspect.inspection.facts import Inspection
from b2dinspect.inspection.walk import inspect_disk
from b2dinspect.source import MemorySource
from tests.containers.handmade import FREE, make_vdi, make_vhd, make_vhdx
from tests.disks import MIB, TAR, USERDATA, make_disk, make_ext, sfdisk
from tests.oracles import needs

MAKERS = {
    "vdi": lambda blocks: make_vdi(blocks, type=4),
    "vhd": lambda blocks: make_vhd([0xFFFFFFFF if one is FREE else one for one in blocks], type=4),
    "vhdx": lambda blocks: make_vhdx([0 if one is FREE else one for one in blocks], flags=2, parent_names={}),
}
STORED = {
    "nothing": (),
    "the table": (0,),
    "the filesystem's beginning": (1,),
    "all but the filesystem's beginning": (0, *range(2, 40)),
    "all but the table": range(1, 40),
    "all but the end": range(39),
    "the first half": range(20),
    "every second one": range(0, 40, 2),
}
"""Blocks of 1 MiB."""


@functools.cache
def blocks() -> list[bytes]:
    path = make_disk(40 * MIB)
    sfdisk(path, "label: gpt\nstart=2048, size=36M\n")
    files = {USERDATA: TAR[:4096], "var/lib/docker/volumes/db/rows": bytes(range(256)) * 4096}
    make_ext(path, 36 * MIB, offset=MIB, files=files)
    data = path.read_bytes()
    return [data[at : at + MIB] for at in range(0, 40 * MIB, MIB)]


def orphan(kind: str, stored: str) -> Inspection:
    kept = [block if number in STORED[stored] else FREE for number, block in enumerate(blocks())]
    if not any(isinstance(one, bytes) for one in kept):
        kept[20] = bytes(MIB)
    return inspect_disk(open_container(MemorySource(MAKERS[kind](kept)), kind), "child")


@needs("sfdisk", "mke2fs")
@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize("kind", MAKERS)
def test_what_is_in_the_parent_is_not_damaged(kind: str, stored: str) -> None:
    facts = orphan(kind, stored)
    is_whole = stored in ("all but the end", "the first half")
    assert facts.state in (("incomplete", "provisioned") if is_whole else ("incomplete",)), facts.reason
    found = examine(facts)
    said = "\n".join((facts.reason, facts.ownership.text, *(one.message for one in found)))
    assert not re.search(r"damaged|no magic|e2fsck|nothing of boot2docker is on it|overwritten", said), said
    assert not [one.id for one in found if re.search("damaged|overwritten|gone|differs|label", one.id)]
