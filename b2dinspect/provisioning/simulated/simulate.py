"""The guest's stages, performed on the disk image in this process by the data in ``guests``.

Source: the three programs named in ``guests``.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

from b2dinspect.errors import EvidenceError, UsageError
from b2dinspect.filesystems.ext4 import Ext4
from b2dinspect.guests import DATA_LABEL
from b2dinspect.inspection.choice import choose
from b2dinspect.inspection.volumes import volumes_of
from b2dinspect.partitions import Partition, read_table
from b2dinspect.provisioning.disk.ext4 import PartitionSpan, Placed, editing, fill, make_ext4
from b2dinspect.provisioning.disk.overlay import Writable
from b2dinspect.provisioning.disk.rework import keep_snapshot, rework
from b2dinspect.provisioning.events import Event, Gave, Took
from b2dinspect.provisioning.simulated.home import unpack_home
from b2dinspect.provisioning.simulated.later import data_directory, settle
from b2dinspect.provisioning.simulated.layout import fits, swap_writes, table_writes
from b2dinspect.provisioning.simulated.mke2fs import make_by_mke2fs
from b2dinspect.provisioning.simulated.root import HOSTNAME, Root
from b2dinspect.provisioning.stages import SkipStage, Stage, StageFailed, State, Step, perform
from b2dinspect.source import SliceSource
from b2dinspect.userdata.daemon_profile import PATH as PROFILE
from b2dinspect.userdata.tarball import GUEST_KEEPS, MAGIC

USERDATA = "var/lib/boot2docker/userdata.tar"
WRONG_LABEL = b"boot2docker-dat"
MAX_USERDATA = 64 << 20


def _writable(state: State) -> Writable:
    if state.disk is None or state.is_off:
        raise SkipStage("the guest is off")
    return state.disk


def _must_format(state: State) -> Writable:
    """Return the disk when the guest decided to format it."""
    disk = _writable(state)
    if state.choice is None or state.choice.action == "leave":
        raise SkipStage("this guest leaves the disk alone")
    if state.choice.action == "mount":
        raise SkipStage("a data partition was found: nothing is formatted")
    return disk


def _partition(state: State) -> Partition:
    if state.part is None:
        raise SkipStage("there is no partition")
    return state.part


def _find_label(state: State) -> Step:
    disk = _writable(state)
    if state.has_fault("old-iso"):
        raise StageFailed("this ISO knows nothing of userdata: it looks for no disk at all")
    table = read_table(disk)
    volumes = volumes_of(disk, table)
    choice = choose(state.plan.profile, disk, table, volumes)
    yield Took(f"{len(volumes)} volumes on {table.kind.upper()}" if volumes else "no volumes")
    if choice.action == "mount" and choice.volume is not None:
        yield Gave(choice.reason)
        return state._replace(choice=choice, part=choice.volume.partition)
    yield Gave(f"no partition is labelled {DATA_LABEL.decode()}")
    return state._replace(choice=choice, part=None)


def _choose_disk(state: State) -> Step:
    disk = _writable(state)
    if state.choice is None:
        raise SkipStage("this guest looks for no disk")
    if state.choice.action == "mount":
        raise SkipStage(state.choice.reason)
    yield Gave(f"the only disk, {disk.size} bytes")
    return state


def _test_magic(state: State) -> Step:
    disk = _writable(state)
    if state.choice is None or state.choice.action == "mount":
        raise SkipStage("not needed")
    head = disk.pread(0, len(MAGIC))
    yield Took(f"{len(head)} bytes at 0: {head!a}")
    if state.choice.action == "leave":
        raise StageFailed(f"{state.choice.reason}: the disk is left alone")
    if not state.choice.keeps_userdata:
        raise StageFailed(state.choice.reason)
    yield Gave("equal to the marker")
    return state


def _save(state: State) -> Step:
    disk = _must_format(state)
    if state.choice is None or not state.choice.keeps_userdata:
        raise SkipStage("no marker, nothing worth saving")
    saved = disk.pread(0, GUEST_KEEPS)
    yield Gave(f"/userdata.tar in RAM, {len(saved)} bytes")
    return state._replace(saved=saved)


def _make_table(state: State) -> Step:
    disk = _must_format(state)
    profile = state.plan.profile
    geometry = state.plan.driver.geometry
    if not fits(profile, disk.size, geometry):
        raise StageFailed(f"{disk.size} bytes are too few for the partitions: fdisk says Value out of range")
    for offset, data in table_writes(profile, disk.size, geometry, state.plan.ids):
        disk.pwrite(offset, data)
    table = read_table(disk)
    part = next(part for part in table.partitions if part.number == 1)
    for one in table.partitions:
        yield Gave(f"partition {one.number}: sectors {one.start}-{one.end - 1}, {one.type_name}")
    return state._replace(part=part)


def _make_swap(state: State) -> Step:
    disk = _must_format(state)
    _partition(state)
    if not state.plan.profile.swap:
        raise SkipStage("this guest makes no swap")
    for offset, data in swap_writes(state.plan.profile, state.plan.driver.geometry, state.plan.ids):
        disk.pwrite(offset, data)
    label = state.plan.profile.swap_label.decode()
    yield Gave(f"swap labelled {label!r}" if label else "swap without a label")
    return state


def _mkfs(state: State) -> Step:
    disk = _must_format(state)
    part = _partition(state)
    if state.has_fault("mkfs-skipped"):
        raise StageFailed("mkfs.ext4 does not run")
    label = WRONG_LABEL if state.has_fault("wrong-label") else DATA_LABEL
    place, profile, ids = PartitionSpan(disk, part.offset, part.size), state.plan.profile, state.plan.ids
    if state.plan.mkfs == "e2fsprogs":
        make_by_mke2fs(place, profile, profile.name, ids, state.work, label)
    else:
        make_ext4(place, profile, profile.name, ids, label)
    yield Gave(f"ext4 labelled {label.decode()!r}, {part.size} bytes")
    if state.has_fault("crash-before-move"):
        raise StageFailed("the power fails", state._replace(is_off=True))
    return state


def _fill(state: State) -> Step:
    disk = _writable(state)
    if state.choice is not None and state.choice.action == "mount" and state.part is not None:
        yield Gave(f"partition {state.part.number} mounted")
        try:
            done = settle(disk, state.part, state.plan.profile, state.plan.ids)
        except EvidenceError as error:
            done = (f"its directories stay as they are here: {error}",)
        for text in done:
            yield Gave(text)
        return state
    _must_format(state)
    part = _partition(state)
    if find_data_partition(disk) is None:
        raise StageFailed("unable to find a partition with the appropriate label", state._replace(part=None))
    files = () if state.saved is None else (Placed(USERDATA, state.saved),)
    with editing(PartitionSpan(disk, part.offset, part.size), state.plan.ids) as edits:
        fill(edits, state.plan.profile, files)
    yield Gave(f"{len(state.plan.profile.makes)} directories" + (f", /{USERDATA}" if files else ""))
    return state


def find_data_partition(disk: Writable) -> Partition | None:
    """Return the partition that carries the data label, or None."""
    volumes = volumes_of(disk, read_table(disk))
    return next((one.partition for one in volumes if one.label == DATA_LABEL and one.is_ext), None)


def read_userdata(disk: Writable, part: Partition, path: str = USERDATA) -> bytes | None:
    """Return userdata.tar of a partition, or None when it is not there."""
    try:
        with Ext4(SliceSource(disk, part.offset, part.size)) as files:
            content = files.content(files.find(path.encode()))
            return content.pread(0, MAX_USERDATA)
    except EvidenceError:
        return None


def _unpack(state: State) -> Step:
    disk = _writable(state)
    home = state.work / f"home-{state.number}"
    home.mkdir(mode=0o700)
    state = state._replace(home=home)
    path, userdata = USERDATA, None
    if state.part is not None:
        path = f"{data_directory(disk, state.part, state.plan.profile)}/userdata.tar"
        userdata = read_userdata(disk, state.part, path)
    if userdata is None:
        raise StageFailed(f"no /{path}: the home directory stays empty", state)
    yield Took(f"/{path}, {len(userdata)} bytes")
    unpacked = unpack_home(userdata, home)
    user, group, *_ = state.plan.profile.owner
    state = state._replace(unpacked=unpacked.entries)
    for name in unpacked.names:
        yield Gave(f"{name}  {user}:{group}")
    if unpacked.complaint:
        yield Gave(unpacked.complaint)
    return state


def _start_sshd(state: State) -> Step:
    if state.is_off or state.home is None:
        raise SkipStage("the guest is off")
    from b2dinspect.provisioning.simulated.sshd import SimulatedSshd  # asyncssh is slow to import

    root = _root(state) if state.plan.docker else None
    guest = SimulatedSshd(
        state.home,
        state.plan.profile.owner,
        state.plan.name,
        entries=state.unpacked,
        owns=state.plan.profile.owns,
        root=root,
    )
    state.cleanup.callback(guest.stop)
    yield Gave(f"127.0.0.1 port {guest.port}, host key {guest.host_key.split()[0]}")
    return state._replace(guest=guest)


def _root(state: State) -> Root:
    """Return root, who has the data partition, and the hostname from there."""
    clock = float(state.plan.ids.time) if state.plan.ids.is_pinned else None
    root = Root(state.work, state.plan.ids, state.plan.profile.owner[0], clock)
    if state.disk is not None and state.part is not None:
        root.mount(state.disk, state.part)
        name = (root.read(HOSTNAME) or b"").decode("ascii", "replace").strip()
        root.hostname = name or "boot2docker"
    return root


def _start_daemon(state: State) -> Step:
    root = root_of(state)
    if root is None:
        raise SkipStage("the guest is off")
    if root.read(PROFILE) is None:
        raise SkipStage("no profile yet: the real one would make certificates of its own")
    yield Took(f"/{PROFILE} and the certificates beside it; hostname {root.hostname}")
    root.start()
    if root.words:
        raise StageFailed(root.words)
    yield Gave(f"127.0.0.1 port {root.daemon_port}")
    return state


def root_of(state: State) -> Root | None:
    """Return root in the simulated guest; None when there is none, or another guest."""
    return getattr(state.guest, "root", None)


def _typed(answers: Sequence[str]) -> str:
    return " ".join(answer or "ENTER" for answer in answers)


def _fdisk(state: State) -> str:
    sessions = state.plan.profile.commands.fdisk
    times = f", {len(sessions)} times" if len(sessions) > 1 else ""
    return f"fdisk DISK{times}, typing: {'; '.join(map(_typed, sessions))}"


DISK_STAGES = (
    Stage(
        "find-label",
        "guest",
        "Look for the data partition of an earlier boot.",
        lambda state: f"blkid -o device -l -t LABEL={DATA_LABEL.decode()}",
        _find_label,
    ),
    Stage(
        "choose-disk",
        "guest",
        "Choose the disk to look at.",
        lambda state: state.plan.profile.commands.look,
        _choose_disk,
    ),
    Stage(
        "magic",
        "guest",
        "Compare the first 29 bytes with the magic string.",
        lambda state: state.plan.profile.commands.magic,
        _test_magic,
    ),
    Stage(
        "save",
        "guest",
        "Keep the first 4096 bytes, and with them the key.",
        lambda state: state.plan.profile.commands.save,
        _save,
    ),
    Stage("partition", "guest", "Make the partition table over it.", _fdisk, _make_table),
    Stage(
        "swap",
        "guest",
        "Make the swap on partition 2.",
        lambda state: state.plan.profile.commands.swap,
        _make_swap,
    ),
    Stage(
        "mkfs",
        "guest",
        "Make the filesystem on partition 1.",
        lambda state: state.plan.profile.commands.mkfs,
        _mkfs,
    ),
    Stage(
        "fill",
        "guest",
        "Mount it, make directories, move userdata.tar onto it.",
        lambda state: state.plan.profile.commands.fill,
        _fill,
    ),
)
GUEST_STAGES = (
    *DISK_STAGES,
    Stage(
        "unpack",
        "guest",
        "Unpack the key into the home directory, which is in RAM.",
        lambda state: state.plan.profile.commands.unpack,
        _unpack,
    ),
    Stage("sshd", "guest", "Start sshd.", lambda state: "/usr/local/sbin/sshd", _start_sshd),
)
"""A boot, up to where somebody can log in."""
DAEMON_STAGE = Stage(
    "daemon",
    "guest",
    "Start the daemon, when there is a profile.",
    lambda state: "/etc/init.d/docker start",
    _start_daemon,
)


def boot(state: State) -> Generator[Event, None, State]:
    """Boot a guest from the state's disk image: find or make the data partition, unpack the key, start sshd.

    The image is replaced as a whole, at the end, and only if the guest changed it.

    Raises:
        ToolError: A program that is needed is missing or failed.
    """
    if state.disk_path is None:
        raise UsageError("there is no disk to boot from")
    with rework(state.disk_path, state.plan.ids) as disk:
        state = state._replace(disk=disk)
        for stage in (*GUEST_STAGES, *([DAEMON_STAGE] if state.plan.docker else [])):
            state = yield from perform(stage, state)
            state = keep_snapshot(state, stage.id, disk)
        if (root := root_of(state)) is not None:
            root.unmount()
    return state._replace(disk=None)


def attend(state: State, stages: Sequence[Stage]) -> Generator[Event, None, State]:
    """Perform stages of the host while the guest is up and has the data partition mounted.

    Raises:
        ToolError: A program that is needed is missing or failed.
    """
    root = root_of(state)
    if state.disk_path is None or root is None or state.part is None:
        for stage in stages:
            state = yield from perform(stage, state)
        return state
    with rework(state.disk_path, state.plan.ids) as disk:
        root.mount(disk, state.part)
        state = state._replace(disk=disk)
        for stage in stages:
            state = yield from perform(_synced(stage, root), state)
            state = keep_snapshot(state, stage.id, disk)
        root.unmount()
    return state._replace(disk=None)


def _synced(stage: Stage, root: Root) -> Stage:
    """Return a stage at whose end all that was written is on the disk."""

    def work(state: State) -> Step:
        try:
            return (yield from stage.perform(state))
        finally:
            root.sync()

    return stage._replace(perform=work)
