"""An initramfs from the programs that are installed here: a whole small guest in one cpio archive.

Source: Linux, Documentation/driver-api/early-userspace/buffer-format.rst (the "newc" cpio format).
"""

from __future__ import annotations

import gzip
import lzma
import re
import stat
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from b2dinspect.errors import ToolError
from b2dinspect.provisioning.programs import find_program, need_program
from b2dinspect.provisioning.real.guestscript import (
    DOCKER_MODULES,
    MODULES,
    OLD_FDISK,
    OS_RELEASE,
    ROOT_SHELL,
    init_script,
    programs,
    scripts,
    settings,
)
from b2dinspect.provisioning.stages import Plan
from b2dinspect.records import NamedTuple

BOOT = Path("/boot")
SSHD_HELPERS = ("/usr/lib/openssh/sshd-session", "/usr/lib/openssh/sshd-auth")
"""Parts that OpenSSH has kept outside of sshd since 9.8."""
LINKS = {"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib64": "usr/lib64"}
NAMES = {"usr/bin/sh": "dash", "usr/sbin/mkfs.ext4": "mke2fs"}
FOLDERS = ("dev", "proc", "sys", "run", "run/sshd", "mnt", "home", "root", "var", "var/lib", "var/log")


class CpioEntry(NamedTuple):
    """One entry: path, mode with type, content (of a link: its target), and device numbers."""

    path: str
    mode: int
    content: bytes = b""
    device: tuple[int, int] = (0, 0)


def find_kernel() -> Path:
    """Return the newest kernel in /boot that can be read.

    Raises:
        ToolError: There is none.
    """
    kernels = sorted(BOOT.glob("vmlinuz-*"), key=lambda path: path.stat().st_mtime)
    if not kernels:
        raise ToolError("no kernel in /boot; install linux-image-cloud-amd64").naming("kernel")
    return kernels[-1]


def kernel_version(kernel: Path) -> str:
    """Return the version in a bzImage's header, which names the folder of its modules.

    Source: Linux, Documentation/arch/x86/boot.rst: a pointer at 0x20E, counted from 0x200.

    Raises:
        ToolError: It cannot be read, or is no bzImage.
    """
    try:
        with kernel.open("rb") as file:
            head = file.read(64 << 10)
    except OSError as error:
        raise ToolError(f"{kernel}: {error.strerror}") from error
    if head[0x202:0x206] != b"HdrS":
        raise ToolError(f"{kernel} is no x86 Linux kernel")
    start = int.from_bytes(head[0x20E:0x210], "little") + 0x200
    return head[start : start + 200].split(b" ")[0].split(b"\0")[0].decode("ascii", "replace")


def build_initramfs(plan: Plan, kernel: Path, host_key: bytes) -> bytes:
    """Return the packed archive for one guest.

    Args:
        plan: The guest and the fault.
        kernel: The kernel whose modules it needs.
        host_key: sshd's private host key.

    Raises:
        ToolError: A program or a module is missing.
    """
    wanted = (*MODULES, *(DOCKER_MODULES if plan.docker else ()))
    modules = list(_modules(kernel_version(kernel), wanted))
    nodes = [CpioEntry("", stat.S_IFDIR | 0o755), *_programs(programs(plan))]
    nodes += [
        CpioEntry(path, stat.S_IFLNK | 0o777, target.encode()) for path, target in (LINKS | NAMES).items()
    ]
    nodes += [CpioEntry(path, stat.S_IFDIR | 0o755) for path in FOLDERS]
    nodes.append(CpioEntry("tmp", stat.S_IFDIR | 0o1777))
    files = {f"modules/{number:02}.ko": data for number, data in enumerate(modules)}
    files |= {path: text.encode() for path, text in settings(plan.profile).items()}
    nodes += [CpioEntry(path, stat.S_IFREG | 0o644, data) for path, data in files.items()]
    nodes.append(CpioEntry("etc/ssh/host_key", stat.S_IFREG | 0o600, host_key))
    nodes.append(CpioEntry("dev/console", stat.S_IFCHR | 0o600, b"", (5, 1)))
    nodes.append(CpioEntry("init", stat.S_IFREG | 0o755, init_script(plan).encode()))
    if plan.docker:
        shell = Path(need_program("dash")).read_bytes()
        nodes.append(CpioEntry(ROOT_SHELL, stat.S_IFREG | 0o4755, shell))
        nodes.append(CpioEntry("etc/os-release", stat.S_IFREG | 0o644, OS_RELEASE.encode()))
        nodes += [
            CpioEntry(path, stat.S_IFREG | 0o755, text.encode()) for path, text in scripts(plan).items()
        ]
    if plan.profile.fdisk == "busybox":
        nodes.append(CpioEntry("usr/sbin/fdisk", stat.S_IFREG | 0o755, OLD_FDISK.read_bytes()))
    if plan.qemu.script is not None:
        nodes.append(CpioEntry("script", stat.S_IFREG | 0o755, _script(plan.qemu.script)))
    return gzip.compress(pack(nodes), 1, mtime=0)


def pack(nodes: list[CpioEntry]) -> bytes:
    """Return a newc cpio archive; folders that are not listed are made in front of what is in them."""
    listed = {node.path: node for node in nodes}
    for node in nodes:
        for parent in [str(path) for path in Path(node.path).parents if str(path) != "."]:
            listed.setdefault(parent, CpioEntry(parent, stat.S_IFDIR | 0o755))
    parts = [_member(number, listed[path]) for number, path in enumerate(sorted(listed), 1)]
    parts.append(_member(0, CpioEntry("TRAILER!!!", 0)))
    return b"".join(parts)


def _member(number: int, node: CpioEntry) -> bytes:
    name = node.path.encode() + b"\0"
    fields = (number, node.mode, 0, 0, 1, 0, len(node.content), 0, 0, *node.device, len(name), 0)
    header = b"070701" + b"".join(b"%08x" % field for field in fields) + name
    return header + bytes(-len(header) % 4) + node.content + bytes(-len(node.content) % 4)


def _script(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ToolError(f"{path}: {error.strerror}") from error


def _programs(names: Sequence[str]) -> Iterator[CpioEntry]:
    paths = [Path(need_program(name)) for name in names]
    paths += [Path(name) for name in SSHD_HELPERS if Path(name).is_file()]
    libraries: set[Path] = set()
    for path in paths:
        libraries |= _libraries(path)
    for path in paths:
        folder = "usr/sbin" if path.parent.name == "sbin" else "usr/bin"
        place = str(path)[1:] if path.parent.name == "openssh" else f"{folder}/{path.name}"
        yield CpioEntry(place, stat.S_IFREG | 0o755, path.read_bytes())
    for path in sorted(libraries):
        place = str(path)[1:] if str(path).startswith("/usr") else f"usr{path}"
        yield CpioEntry(place, stat.S_IFREG | 0o755, path.read_bytes())


def _libraries(program: Path) -> set[Path]:
    """Return the shared libraries of a program as its loader finds them: none for a static one."""
    listed = subprocess.run([need_program("ldd"), str(program)], capture_output=True, check=False)
    found = re.findall(r"(?:=> )?(/\S+) \(0x", listed.stdout.decode("utf-8", "replace"))
    return {Path(path) for path in found}


def _modules(version: str, wanted: Sequence[str] = MODULES) -> Iterator[bytes]:
    """Yield the modules that the guest needs, each after those that it depends on."""
    folder = Path("/lib/modules") / version
    try:
        lines = (folder / "modules.dep").read_text().splitlines()
        built_in = (folder / "modules.builtin").read_text()
    except OSError as error:
        raise ToolError(f"the modules of kernel {version} are missing: {error}") from error
    needs = {path: rest.split() for path, _, rest in (line.partition(":") for line in lines)}
    by_name = {Path(path).name.split(".")[0].replace("-", "_"): path for path in needs}
    ordered: dict[str, None] = {}
    for name in wanted:
        if name in by_name:
            path = by_name[name]
            ordered |= dict.fromkeys([*reversed(needs[path]), path])
        elif f"/{name}.ko" not in built_in.replace("-", "_"):
            raise ToolError(f"kernel {version} has no module {name}")
    for path in ordered:
        yield _unpacked(folder / path)


def _unpacked(path: Path) -> bytes:
    data = path.read_bytes()
    if path.suffix == ".xz":
        return lzma.decompress(data)
    if path.suffix == ".zst":
        program = find_program("zstd")
        if program is None:
            raise ToolError("zstd is needed to unpack this kernel's modules; install zstd")
        return subprocess.run([program, "-dc", str(path)], capture_output=True, check=True).stdout
    return data
