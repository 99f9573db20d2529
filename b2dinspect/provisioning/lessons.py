"""What is done to a machine between its boots: lessons (``--tamper``), and accidents (``--fault``)."""

from __future__ import annotations

from collections.abc import Callable

from b2dinspect.filesystems.ext4.writing.edits import Ext4Edits
from b2dinspect.newfile import NewFile
from b2dinspect.provisioning.disk.ext4 import PartitionSpan, editing
from b2dinspect.provisioning.disk.images import WorkDisk
from b2dinspect.provisioning.disk.rework import rework
from b2dinspect.provisioning.events import Gave, Took
from b2dinspect.provisioning.host.host import write_new
from b2dinspect.provisioning.keypair import make_key
from b2dinspect.provisioning.login import WRONG_KEY, log_in
from b2dinspect.provisioning.simulated.home import KEY_FILES
from b2dinspect.provisioning.simulated.simulate import USERDATA, find_data_partition
from b2dinspect.provisioning.stages import SkipStage, Stage, StageFailed, State, Step
from b2dinspect.userdata.tarball import GUEST_KEEPS, build_userdata

LessonEdit = Callable[[Ext4Edits], None]
TAMPERS = ("delete-keys", "replace-userdata")


def _delete_keys(state: State) -> Step:
    guest, user = state.guest, state.plan.profile.owner[0]
    if guest is None or state.folder is None or not state.logged_in:
        raise SkipStage("nobody can log in")
    key = state.folder / "id_rsa"
    if state.home is not None:
        for name in KEY_FILES:
            (state.home / name).unlink(missing_ok=True)
    else:
        log_in(guest, user, key, state.work, f"rm -f {' '.join(KEY_FILES)}")
    yield Took("the running guest")
    attempt = log_in(guest, user, key, state.work)
    if attempt.works:
        raise StageFailed("the login still works")
    yield Gave(f"the login is refused now: {attempt.reason}")
    return state


def _change_files(state: State, change: LessonEdit) -> Step:
    """Switch the guest off and change its data partition."""
    if state.guest is not None:
        state.guest.stop()
    if state.disk_path is None:
        raise SkipStage("there is no disk")
    with rework(state.disk_path, state.plan.ids) as disk:
        change_partition(disk, state, change)
        yield from disk.changes()
    return state._replace(guest=None, home=None)


def change_partition(disk: WorkDisk, state: State, change: LessonEdit) -> None:
    """Change the data partition of a disk.

    Raises:
        SkipStage: There is none.
        FilesystemError: It cannot be changed.
    """
    part = find_data_partition(disk)
    if part is None:
        raise SkipStage("there is no data partition")
    with editing(PartitionSpan(disk, part.offset, part.size), state.plan.ids) as edits:
        change(edits)


def _replace_userdata(state: State) -> Step:
    new = make_key("rsa")
    userdata = build_userdata(new.public)[:GUEST_KEEPS]
    state = yield from _change_files(state, lambda edits: edits.write(USERDATA.encode(), userdata))
    path = (state.folder or state.work) / "new_id_rsa"
    write_new(path, new.private, 0o600)
    with NewFile(state.work / WRONG_KEY, force=True, mode=0o600) as file:
        file.pwrite(0, state.key.private)
    yield Gave(f"{path.name}: the key that /{USERDATA} holds now; the machine's own must be refused")
    return state._replace(login_key=path)


def _accident(name: str) -> Callable[[State], Step]:
    return lambda state: _change_files(state, ACCIDENTS[name])


ACCIDENTS: dict[str, LessonEdit] = {
    "userdata-lost": lambda edits: edits.remove(USERDATA.encode()),
    "unclean": Ext4Edits.mark_unclean,
}
"""What a fault between two boots does to the data partition."""

BETWEEN_BOOTS = {
    "delete-keys": Stage(
        "tamper",
        "guest",
        "Delete the key files in the running guest.",
        lambda state: f"rm {' '.join(KEY_FILES)}",
        _delete_keys,
    ),
    "replace-userdata": Stage(
        "tamper",
        "host",
        "Put another key's userdata.tar on the data partition.",
        lambda state: f"mount PART /mnt; cp userdata.tar /mnt/{USERDATA}; umount /mnt",
        _replace_userdata,
    ),
    "userdata-lost": Stage(
        "accident", "guest", "Lose userdata.tar.", lambda state: f"rm /{USERDATA}", _accident("userdata-lost")
    ),
    "unclean": Stage(
        "accident",
        "guest",
        "Switch the machine off without unmounting.",
        lambda state: "",
        _accident("unclean"),
    ),
}
"""What can happen between two boots, by the name of the lesson or the fault."""
