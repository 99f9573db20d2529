"""Systems that lack something: what is missing elsewhere is taken away here."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from b2dinspect.provisioning import programs
from b2dinspect.provisioning.disk import claims

Take = Callable[[pytest.MonkeyPatch], None]


def without(module: object, *names: str) -> Take:
    """Take names out of a module."""

    def take(patch: pytest.MonkeyPatch) -> None:
        for name in names:
            patch.delattr(module, name, raising=False)

    return take


def no_modes(patch: pytest.MonkeyPatch) -> None:
    """Keep no permission bits, as Windows does."""
    patch.setattr(Path, "chmod", lambda *arguments, **options: None)
    patch.setattr(os, "chmod", lambda *arguments, **options: None)
    without(os, "fchmod", "fchown")(patch)


def no_limits(patch: pytest.MonkeyPatch) -> None:
    """Have no way to hold a child to anything, and no child."""
    without(os, "fork")(patch)
    without(signal, "SIGALRM", "SIGPROF", "setitimer", "alarm")(patch)
    patch.setitem(sys.modules, "resource", None)  # type: ignore[arg-type]


def no_programs(patch: pytest.MonkeyPatch) -> None:
    """Have no ssh, no e2fsprogs, no qemu."""
    patch.setenv("PATH", os.devnull)
    patch.setattr(programs, "PLACES", ())


def no_locks(patch: pytest.MonkeyPatch) -> None:
    """Have no fcntl."""
    patch.setattr(sys.modules["b2dinspect.newfile.hold"], "fcntl", None)
    patch.setattr(claims, "fcntl", None, raising=False)


def no_users(patch: pytest.MonkeyPatch) -> None:
    """Have no user's number, and no attributes of files; the name is in the environment, as on Windows."""
    without(os, "getuid", "geteuid", "getxattr", "setxattr", "listxattr")(patch)
    patch.setenv("USERNAME", "somebody")


PLATFORMS: dict[str, Take] = {
    "no fork": without(os, "fork"),
    "no pread": without(os, "pread", "pwrite"),
    "no SEEK_DATA": without(os, "SEEK_DATA", "SEEK_HOLE"),
    "no O_NOATIME": without(os, "O_NOATIME"),
    "no fork, SIGALRM and resource": no_limits,
    "no modes": no_modes,
    "no fcntl": no_locks,
    "no programs": no_programs,
    "no getuid": no_users,
}


@pytest.fixture(params=PLATFORMS)
def platform(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Take away what a system lacks, and return what that is."""
    name: str = request.param
    PLATFORMS[name](monkeypatch)
    return name


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Watch the time of these tests by a thread: they take away the signals by which it is watched else."""
    for item in items:
        if "platform" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.timeout(600, method="thread"))
