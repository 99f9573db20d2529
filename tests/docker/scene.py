"""What happens in the daemon: images are built, containers run, and the client says what there is.

All of it goes onto one disk, whose data-root is where boot2docker has it.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from tests.disks import LABEL
from tests.docker.daemon import CannotRunError, Daemon
from tests.locking import lock
from tests.oracles import PATH, run

DRIVERS = ("overlay2", "vfs")
APPLETS = (
    "sh",
    "echo",
    "cat",
    "sleep",
    "ls",
    "mkdir",
    "rm",
    "ln",
    "chmod",
    "chown",
    "mkfifo",
    "mknod",
    "mv",
    "dd",
)
PROFILE = "EXTRA_ARGS='\n--label provider=virtualbox\n'\nDOCKER_STORAGE={driver}\nDOCKER_TLS=auto\n"
DOCKERFILE = """
FROM base:1
ENV A=b
RUN mkdir -p /data/old/deep && echo one > /data/one && echo two > /data/two && echo x > /data/old/deep/x
RUN rm /data/two && echo three > /data/three && chmod 4755 /data/three && ln /data/one /data/hard
RUN rm -r /data/old && mkdir /data/old && echo new > /data/old/new && chown 1000:1001 /data/old/new
VOLUME /vol
LABEL x=y
WORKDIR /data
CMD ["/bin/sh", "-c", "echo out; echo err >&2"]
"""
CHANGES = (
    "echo out; echo err >&2; echo volume > /n/file; echo changed > /data/one; rm /data/three; mkdir /new; "
    "rm -r /data/old; mkdir /data/old; echo again > /data/old/again; ln -s ../etc/passwd /new/link; "
    "mkfifo /new/fifo; mknod /new/zero c 1 5; dd if=/dev/zero of=/new/sparse bs=1 count=1 seek=1000000"
)
COUNT = "i=0; while [ $i -lt 40 ]; do i=$((i+1)); echo line $i; done; echo done >&2"


class Scene(NamedTuple):
    """A disk that a daemon filled, and what its client said before it was stopped.

    Attributes:
        disk: A raw disk, all of it one ext4.
        driver: The daemon's storage driver.
        said: Answers of the client, by the words it was asked with.
        folder: For what else tests make of it.
    """

    disk: Path
    driver: str
    said: dict[str, Any]
    folder: Path


def scene(shared: Path, driver: str) -> Scene:
    """Return the scene; whoever comes first makes it, the others wait.

    Args:
        shared: A folder of all workers of the session.
        driver: The storage driver.

    Raises:
        CannotRunError: There is no daemon on this machine.
    """
    folder = shared / f"docker-{driver}"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as file:
        lock(file)
        note = folder / "said.json"
        if not note.exists():
            try:
                note.write_text(json.dumps(_made(folder, driver)))
            except CannotRunError as error:
                note.write_text(json.dumps({"cannot": str(error)}))
    said = json.loads(note.read_text())
    if "cannot" in said:
        raise CannotRunError(said["cannot"])
    return Scene(folder / "disk.img", driver, said, folder)


def _made(folder: Path, driver: str) -> dict[str, Any]:
    if not shutil.which("busybox", path=PATH):
        raise CannotRunError("not installed: busybox")
    with tempfile.TemporaryDirectory(prefix="b2d-", dir=_quick_place()) as place:
        return _filled(folder, Path(place), driver)


def _quick_place() -> str | None:
    """Return a folder in memory, where the daemon's many syncs cost nothing; None when there is no room."""
    memory = "/dev/shm"
    return memory if Path(memory).is_dir() and shutil.disk_usage(memory).free > 1 << 30 else None


def _filled(folder: Path, place: Path, driver: str) -> dict[str, Any]:
    tree = place / "tree"
    own, data_root = tree / "var/lib/boot2docker", tree / "var/lib/docker"
    (own / "log").mkdir(parents=True)
    data_root.mkdir(parents=True)
    (own / "profile").write_text(PROFILE.format(driver=driver))
    state, log = place / "state", own / "log/docker.log"
    state.mkdir()
    with Daemon(state, data_root, driver, log) as daemon:
        _play(daemon, folder)
    # As after a reboot: nothing runs, and all is written down.
    with Daemon(state, data_root, driver, log) as daemon:
        said = _ask(daemon)
        _export(daemon, folder)
    run("mke2fs", "-q", "-F", "-t", "ext4", "-L", LABEL, "-d", tree, folder / "disk.img", "192m")
    return said


def _play(daemon: Daemon, folder: Path) -> None:
    context, base = folder / "context", folder / "base"
    for place in (context, base / "bin", base / "etc", base / "tmp"):
        place.mkdir(parents=True, exist_ok=True)
    busybox = shutil.which("busybox", path=PATH)
    assert busybox
    shutil.copy(busybox, base / "bin/busybox")
    for name in APPLETS:
        (base / "bin" / name).symlink_to("busybox")
    (base / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\n")
    (context / "Dockerfile").write_text(DOCKERFILE)
    packed = run("tar", "-C", base, "-c", ".").stdout
    daemon.run("import", "--change", 'CMD ["/bin/sh"]', "-", "base:1", input=packed)
    probe = daemon.run("run", "--rm", "--network", "none", "base:1", "/bin/echo", "hello", is_checked=False)
    if probe.returncode:
        raise CannotRunError(f"no container runs here: {probe.stderr.decode().strip().splitlines()[0]}")
    daemon.run("build", "-t", "app:1", "-t", "registry.local:5000/team/app:2", context)
    daemon.run("tag", "base:1", "base:latest")
    daemon.run("volume", "create", "--label", "k=v", "named")
    make = ("create", "--network", "none", "--name")
    labels = ("-l", "com.docker.compose.project=shop", "-l", "com.docker.compose.service=web")
    daemon.run(*make, "web", "-v", "named:/n", "-e", "X=1", *labels, "app:1", "/bin/sh", "-c", CHANGES)
    daemon.run(*make, "local", "--log-driver", "local", "app:1", "/bin/sh", "-c", COUNT)
    rotated = ("--log-opt", "max-size=1k", "--log-opt", "max-file=3", "--log-opt", "compress=true")
    daemon.run(*make, "rotated", *rotated, "base", "/bin/sh", "-c", COUNT)
    daemon.run(*make, "never", "--read-only", "--tmpfs", "/run", "-p", "8080:80", "base:1", "/bin/sh")
    daemon.run(*make, "failed", "-v", "/tmp:/host:ro", "base:1", "/bin/sh", "-c", "exit 3")
    daemon.run(*make, "sleeper", "--stop-timeout", "1", "app:1", "/bin/sleep", "1000")
    daemon.run("start", "web", "local", "rotated", "failed", "sleeper")
    daemon.run("wait", "web", "local", "rotated", "failed")
    daemon.run("rmi", "--no-prune", "base:latest")  # a container whose image lost the name it was made by


def _ask(daemon: Daemon) -> dict[str, Any]:
    names = daemon.lines("ps", "-a", "--format", "{{.Names}}")
    references = daemon.lines("images", "--format", "{{.Repository}}:{{.Tag}}")
    volumes = daemon.lines("volume", "ls", "-q")
    return {
        "version": daemon.lines("version", "--format", "{{.Server.Version}}")[0],
        "ps": daemon.objects("ps", "-a", "-s", "--no-trunc"),
        "images": daemon.objects("images", "--no-trunc"),
        "images -a": daemon.objects("images", "-a", "--no-trunc"),
        "volumes": volumes,
        "inspect": {name: json.loads(daemon.run("inspect", "--size", name).stdout)[0] for name in names},
        "image inspect": {
            name: json.loads(daemon.run("image", "inspect", name).stdout)[0] for name in references
        },
        "volume inspect": {
            name: json.loads(daemon.run("volume", "inspect", name).stdout)[0] for name in volumes
        },
        "history": {
            name: daemon.objects("history", "--no-trunc", "--human=false", name) for name in references
        },
        "logs": {name: _logs(daemon, name) for name in names},
        "logs -t": {name: _logs(daemon, "-t", name) for name in names},
        "logs -n 3": {name: _logs(daemon, "-n", "3", name) for name in names},
        "diff": {name: daemon.lines("diff", name) for name in names},
    }


def _logs(daemon: Daemon, *words: str) -> list[str]:
    done = daemon.run("logs", *words)
    return [done.stdout.decode("latin-1"), done.stderr.decode("latin-1")]


def _export(daemon: Daemon, folder: Path) -> None:
    """Keep what the client exports and saves, for those who compare with it."""
    daemon.run("export", "-o", folder / "web.tar", "web")
    daemon.run("save", "-o", folder / "app.tar", "app:1")
