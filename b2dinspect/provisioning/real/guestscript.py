"""The init script of the guest that QEMU boots: settings from the profile, and shell parts behind them.

The first-boot part performs the profile's steps with the real blkid, fdisk, mkswap, mkfs.ext4 and tar; its
settings are the same data by which the simulated guest works. A script of the user's own can take its place.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from b2dinspect.guests import DATA_LABEL, OLD_DIRECTORY, GuestProfile
from b2dinspect.provisioning.simulated.home import KEY_FILES
from b2dinspect.provisioning.simulated.simulate import USERDATA, WRONG_LABEL
from b2dinspect.provisioning.stages import Plan
from b2dinspect.userdata.tarball import GUEST_KEEPS, MAGIC

MARK = "@@b2d "
PROGRAMS = ("dash", "busybox", "blkid", "mkswap", "mke2fs", "tar", "mount", "umount", "sshd")
"""Busybox lends only small change, and automount's fdisk: its own blkid or tar would be the wrong ones."""
OWN_PROGRAMS = {"automount": (), "autoformat": ("fdisk",), "minikube": ("fdisk",)}
"""What a generation has besides; automount's fdisk is busybox's (see fdisk.sh)."""
SCRIPT_PROGRAMS = {
    "automount": ("partprobe",),
    "autoformat": ("blockdev",),
    "minikube": ("bash", "parted", "partprobe", "lsblk"),
}
"""What its original script needs besides."""
MODULES = ("virtio_pci", "virtio_blk", "virtio_net", "virtio_rng", "ext4", "crc32c_generic")
DOCKER_PROGRAMS = ("dockerd", "containerd", "containerd-shim-runc-v2", "runc", "setpriv", "setsid")
"""What a guest with a daemon needs besides: Debian's docker.io and containerd, and util-linux."""
DOCKER_MODULES = ("overlay",)
HERE = Path(__file__).parent
DOCKER = HERE / "docker.sh"
"""What stands in /etc/init.d/docker."""
ROOT_SHELL = "usr/bin/root-sh"
"""A copy of the shell with root's bit: the guest has no sudo of anybody's, and lets everybody be root."""
SUDO = HERE / "sudo.sh"
SETHOSTNAME = '#!/bin/sh\nmkdir -p /var/lib/boot2docker/etc\nexec busybox hostname "$1"\n'
OS_RELEASE = (
    'NAME=Boot2Docker\nID=boot2docker\nPRETTY_NAME="a guest of b2dprovision, with Debian\'s dockerd"\n'
)
OLD_FDISK = HERE / "fdisk.sh"


def programs(plan: Plan) -> tuple[str, ...]:
    """Return the names of the programs that a plan's guest needs."""
    name = plan.profile.name
    more = (*(SCRIPT_PROGRAMS[name] if plan.qemu.script else ()), *(DOCKER_PROGRAMS if plan.docker else ()))
    return (*PROGRAMS, *OWN_PROGRAMS[name], *more)


def scripts(plan: Plan) -> dict[str, str]:
    """Return the further scripts of a guest with a daemon, by path."""
    if not plan.docker:
        return {}
    daemon = DOCKER.read_text(encoding="utf-8")
    return {
        "usr/bin/sudo": SUDO.read_text(encoding="utf-8"),
        "usr/bin/sethostname": SETHOSTNAME,
        "etc/init.d/docker": daemon,
    }


def init_script(plan: Plan) -> str:
    """Return /init for a plan's guest, broken by its fault."""
    profile = plan.profile
    user, _, uid, gid = profile.owner
    label = DATA_LABEL.decode()
    mkfs = profile.commands.mkfs.removesuffix(" PART")
    if plan.fault == "wrong-label":
        mkfs = mkfs.replace(label, WRONG_LABEL.decode())
    values = {
        "NAME": plan.name,
        "PROFILE": profile.name,
        "FAULT": plan.fault,
        "MAGIC": MAGIC.decode(),
        "GUEST_KEEPS": str(GUEST_KEEPS),
        "LABEL": label,
        "FDISK": " ".join("".join(f"{answer}\\n" for answer in one) for one in profile.commands.fdisk),
        "SWAP": profile.commands.swap.removesuffix(" PART"),
        "MKFS": mkfs,
        "MAKES": " ".join(profile.makes),
        "OPEN": " ".join(profile.open_to_all),
        "OLD": OLD_DIRECTORY if profile.knows_old_layout else "",
        "USERDATA": USERDATA,
        "USERNAME": user,
        "OWNER": f"{uid}:{gid}",
        "DOCKER": "yes" if plan.docker else "",
    }
    if plan.qemu.script is not None:
        values["SCRIPT"] = plan.qemu.script.name
    parts = ("begin.sh", "given.sh" if plan.qemu.script else "first-boot.sh", "end.sh")
    lines = [f"{name}={shlex.quote(value)}" for name, value in values.items()]
    return "\n".join(["#!/bin/sh", *lines, *((HERE / part).read_text(encoding="utf-8") for part in parts)])


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
