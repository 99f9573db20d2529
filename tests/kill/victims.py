"""Commands that write: what they are given, and what must be there however they end.

A new command that writes gets a row in VICTIMS.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from b2dinspect.errors import B2dError
from b2dinspect.provisioning.repair.backup import FileChange, Patch, undo, write_backup

MIB = 1 << 20
INCIDENTS = Path(__file__).parents[2] / "sample_images" / "incidents"


def docker_before(folder: Path) -> None:
    """A disk with a data-root, and what was rescued of another one."""
    from tests.fuzz import inputs

    inputs.docker(folder)
    (folder / "rescued" / "volumes").mkdir(parents=True)
    for name in ("rescued/manifest.json", "rescued/volumes/data.tar", "out.tar"):
        (folder / name).write_text("old")


OWNER = str(Path(__file__).parents[2] / "b2dinspect/provisioning/samples/keys/practice-1")
State = dict[str, str]
"""Of each file below a folder, by its path there, a hash of its content; mode and time do not count."""


class Victim(NamedTuple):
    """A command.

    Attributes:
        name: Of the trial.
        program: ``b2dprovision`` or ``b2dinspect``.
        prepare: Fills the folder that it runs in.
        words: Its arguments.
        wrong: Says what is wrong with a folder, which was ``old`` and is ``new`` when nothing fails; "" for
            nothing. It may put back what can be put back.
    """

    name: str
    program: str
    prepare: Callable[[Path], object]
    words: tuple[str, ...]
    wrong: Callable[[Path, State, State], str]


def state_of(folder: Path) -> State:
    """Return what is in a folder."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink())
    return {str(path.relative_to(folder)): _hash(path) for path in files}


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- what is to be there ------------------------------------------------------------------------------------


def each_is_whole(folder: Path, old: State, new: State) -> str:
    """Every file is the old one or the new one, and there are no others."""
    now = state_of(folder)
    odd = [name for name, found in now.items() if found not in (old.get(name), new.get(name))]
    gone = [name for name in old if name in new and name not in now]
    return f"neither old nor new: {', '.join(sorted(odd + gone))}" if odd or gone else ""


def all_or_nothing(folder: Path, old: State, new: State) -> str:
    """The folder is all old or all new."""
    now = state_of(folder)
    return "" if now in (old, new) else f"neither old nor new: {', '.join(_differing(now, old, new))}"


def names_all_or_nothing(folder: Path, old: State, new: State) -> str:
    """The same, where new bytes are never the same: what is not old has all the names of the new."""
    now = state_of(folder)
    if now == old:
        return ""
    kept = {name for name in now if now[name] == old.get(name)}
    changed = {name for name in new if new[name] != old.get(name)}
    if set(now) == set(new) and not kept & changed:
        return ""
    return f"neither old nor new: {', '.join(_differing(now, old, new))}"


def boots_or_is_old(folder: Path, old: State, new: State) -> str:
    """The disk is the old one, or one that a guest has made ready."""
    from b2dinspect.inspection.walk import inspect

    now = state_of(folder)
    if now == old:
        return ""
    with inspect(str(folder / "disk.vdi")) as facts:
        is_ready = facts.state == "provisioned" and not any(one.is_fault for one in facts.problems)
    return "" if is_ready and set(now) == set(new) else f"neither old nor new: {sorted(now)}"


def can_be_undone(folder: Path, old: State, new: State) -> str:
    """Nothing has changed, or the backup puts back what has."""
    backups = sorted(folder.rglob("*.b2dbackup"))
    if backups:
        try:
            undo(backups[-1])
        except B2dError as error:
            return f"undo refuses: {error}"
        backups[-1].unlink()
    now = state_of(folder)
    others = {name: found for name, found in now.items() if ".before-repair" not in name}
    return "" if others == old else f"not as it was: {', '.join(_differing(others, old))}"


def is_put_back(folder: Path, old: State, new: State) -> str:
    """What was being undone can be undone to its end."""
    try:
        undo(folder / "undo.b2dbackup")
    except B2dError as error:
        return f"undo refuses: {error}"
    now = state_of(folder)
    return "" if now == new else f"not put back: {', '.join(_differing(now, new))}"


def flat_pair(folder: Path, old: State, new: State) -> str:
    """A descriptor and the data that it names are of one kind, the old ones or the new ones."""
    text = (folder / "disk.vmdk").read_text()
    data = folder / text.partition('FLAT "')[2].partition('"')[0]
    is_new = hashlib.sha256((folder / "disk.vmdk").read_bytes()).hexdigest() == new["disk.vmdk"]
    expected = (folder / "source.img").read_bytes() if is_new else b"old".ljust(MIB, b"\0")
    if not data.is_file() or data.read_bytes() != expected:
        return f"{data.name} is not the disk's data"
    others = {path.name for path in folder.glob("*-flat.vmdk")} - {data.name, *(old if is_new else ())}
    return f"data that nobody names: {', '.join(others)}" if others else ""


def _differing(now: State, *others: State) -> list[str]:
    return sorted({name for other in others for name in {*now, *other} if now.get(name) != other.get(name)})


# --- what they are given ------------------------------------------------------------------------------------


def two_disks(folder: Path) -> None:
    """A disk to be replaced, and one to take its place."""
    (folder / "source.img").write_bytes(b"new".ljust(MIB, b"\0"))
    (folder / "disk.img").write_bytes(b"old".ljust(MIB, b"\0"))


def two_flat(folder: Path) -> None:
    """An image in two files."""
    from b2dinspect.identity import Identities
    from b2dinspect.provisioning.disk.convert import convert
    from b2dinspect.source import MemorySource

    (folder / "source.img").write_bytes(b"new".ljust(MIB, b"\0"))
    old = MemorySource(b"old".ljust(MIB, b"\0"))
    convert(old, folder / "disk.vmdk", "vmdk", Identities.from_seed("old"), subformat="monolithicFlat")


def repaired(folder: Path) -> None:
    """A disk and a small file that a repair has changed."""
    changes = []
    for name, size in (("disk.img", 8192), ("config.json", 4)):
        (folder / name).write_bytes(b"NEW!".ljust(size, b"."))
        patch = Patch(0, b"OLD!", b"NEW!")
        changes.append(FileChange(folder / name, True, size, size, 0o644, 0o644, (patch,)))
    write_backup(folder / "undo.b2dbackup", changes)


def incident(name: str) -> Callable[[Path], object]:
    """A machine with one thing wrong, in the folder ``m``."""

    def prepare(folder: Path) -> None:
        from b2dinspect.provisioning.samples.incidents import unpack

        unpack(INCIDENTS / f"{name}.tar.xz", folder).rename(folder / "m")
        config = folder / "m" / "config.json"
        config.write_text(config.read_text().replace(f"/{name}/", "/m/").replace(f'/{name}"', '/m"'))

    return prepare


def with_a_copy(folder: Path) -> None:
    """The same, beside an older copy of it."""
    incident("key-cut")(folder)
    (folder / "copy").mkdir()
    (folder / "copy" / "config.json").write_text(json.dumps({"old": True}))
    (folder / "copy" / "id_rsa").write_text("old")


def old_machine(folder: Path) -> None:
    """A machine to be replaced by a new one."""
    (folder / "machines" / "demo").mkdir(parents=True)
    (folder / "machines" / "demo" / "only copy").write_text("old")


def fresh_disk(folder: Path) -> None:
    """A disk that was never booted."""
    from b2dinspect.cli.provision.main import app

    words = ["build", str(folder / "disk.vdi"), "--size", "1200MiB", "--key", f"{OWNER}.pub"]
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
        app(words, standalone_mode=False)


def got_before(folder: Path) -> None:
    """A machine, and what was copied out of another one."""
    incident("healthy-minikube")(folder)
    shutil.copytree(folder / "m", folder / "out" / "boot2docker")
    (folder / "out" / "userdata.tar").write_text("old")
    (folder / "out.tar").write_text("old")


VICTIMS = (
    Victim(
        "build",
        "b2dprovision",
        two_disks,
        ("build", "disk.img", "--size", "4MiB", "--seed", "x", "--key", f"{OWNER}.pub", "--force"),
        all_or_nothing,
    ),
    Victim(
        "convert", "b2dprovision", two_disks, ("convert", "source.img", "disk.img", "--force"), all_or_nothing
    ),
    Victim(
        "convert to two files",
        "b2dprovision",
        two_flat,
        ("convert", "source.img", "disk.vmdk", "--subformat", "monolithicFlat", "--seed", "n", "--force"),
        flat_pair,
    ),
    Victim("undo", "b2dprovision", repaired, ("repair", "--undo", "undo.b2dbackup"), is_put_back),
    Victim(
        "repair in place: bytes",
        "b2dprovision",
        incident("key-cut"),
        ("repair", "m", "--in-place"),
        can_be_undone,
    ),
    Victim(
        "repair in place: a new image",
        "b2dprovision",
        incident("userdata-lost"),
        ("repair", "m", "--in-place"),
        can_be_undone,
    ),
    Victim(
        "repair in place: a new key",
        "b2dprovision",
        incident("key-empty"),
        ("repair", "m", "--new-key", "--in-place"),
        can_be_undone,
    ),
    Victim(
        "repair in place: config.json",
        "b2dprovision",
        incident("moved"),
        ("repair", "m", "--in-place"),
        can_be_undone,
    ),
    Victim(
        "repair a copy",
        "b2dprovision",
        with_a_copy,
        ("repair", "m", "--out", "copy", "--force"),
        names_all_or_nothing,
    ),
    Victim(
        "run",
        "b2dprovision",
        old_machine,
        ("run", "demo", "--dir", "machines", "--size", "1200MiB", "--key", OWNER, "--force"),
        names_all_or_nothing,
    ),
    Victim(
        "boot in place",
        "b2dprovision",
        fresh_disk,
        ("boot", "disk.vdi", "--in-place", "--key", OWNER),
        boots_or_is_old,
    ),
    Victim(
        "get a directory",
        "b2dinspect",
        got_before,
        ("get", "m", "/var/lib/boot2docker", "out", "--force"),
        each_is_whole,
    ),
    Victim(
        "get a tar",
        "b2dinspect",
        got_before,
        ("get", "m", "/var/lib/boot2docker", "--tar", "out.tar", "--force"),
        each_is_whole,
    ),
    Victim(
        "docker rescue",
        "b2dinspect",
        docker_before,
        ("docker", "rescue", "disk.img", "rescued", "--force"),
        each_is_whole,
    ),
    Victim(
        "docker export",
        "b2dinspect",
        docker_before,
        ("docker", "export", "disk.img", "quiet_turing", "-o", "out.tar", "--force"),
        each_is_whole,
    ),
)
