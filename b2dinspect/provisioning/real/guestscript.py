"""The init script of the guest that QEMU boots: settings from the profile, and ``guest.sh`` behind them.

The script performs the profile's steps with the real blkid, fdisk, mkswap, mkfs.ext4 and tar; its settings
are the same data by which the simulated guest works.
"""

from __future__ import annotations

from pathlib import Path

from b2dinspect.guests import DATA_LABEL, GuestProfile
from b2dinspect.provisioning.simulated.home import KEY_FILES
from b2dinspect.provisioning.simulated.simulate import USERDATA, WRONG_LABEL
from b2dinspect.provisioning.stages import Plan
from b2dinspect.userdata.tarball import GUEST_KEEPS, MAGIC

MARK = "@@b2d "
PROGRAMS = ("dash", "busybox", "blkid", "fdisk", "mkswap", "mke2fs", "tar", "mount", "umount", "sshd")
"""Busybox lends only small change: its own fdisk, blkid or tar would be the wrong ones."""
MODULES = ("virtio_pci", "virtio_blk", "virtio_net", "virtio_rng", "ext4", "crc32c_generic")
GUEST = Path(__file__).with_name("guest.sh")


def init_script(plan: Plan) -> str:
    """Return /init for a plan's guest, broken by its fault."""
    profile = plan.profile
    user, _, uid, gid = profile.owner
    label = DATA_LABEL.decode()
    mkfs = profile.mkfs_command.removesuffix(" PART")
    if plan.fault == "wrong-label":
        mkfs = mkfs.replace(label, WRONG_LABEL.decode())
    values = {
        "NAME": plan.name,
        "PROFILE": profile.name,
        "FAULT": plan.fault,
        "MAGIC": MAGIC.decode(),
        "GUEST_KEEPS": str(GUEST_KEEPS),
        "LABEL": label,
        "ANSWERS": "".join(f"{answer}\\n" for answer in profile.partition_commands),
        "SWAP": profile.swap_command.removesuffix(" PART"),
        "MKFS": mkfs,
        "MAKES": " ".join(profile.makes),
        "USERDATA": USERDATA,
        "USERNAME": user,
        "OWNER": f"{uid}:{gid}",
    }
    lines = [f"{name}='{value}'" for name, value in values.items()]
    return "\n".join(["#!/bin/sh", *lines, GUEST.read_text(encoding="utf-8")])


def settings(profile: GuestProfile) -> dict[str, str]:
    """Return the files of the guest's /etc by path."""
    user, group, uid, gid = profile.owner
    return {
        "etc/passwd": "root:*:0:0::/root:/bin/sh\nsshd:*:74:74::/run/sshd:/bin/false\n"
        f"{user}:*:{uid}:{gid}::/home/{user}:/bin/sh\n",
        "etc/group": f"root:*:0:\nsshd:*:74:\n{group}:*:{gid}:\n",
        "etc/nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\n",
        "etc/mtab": "",
        "etc/ssh/sshd_config": "HostKey /etc/ssh/host_key\nUsePAM no\nPasswordAuthentication no\n"
        "KbdInteractiveAuthentication no\nPermitRootLogin no\n"
        f"AuthorizedKeysFile {' '.join(KEY_FILES)}\nPidFile none\n",
    }
