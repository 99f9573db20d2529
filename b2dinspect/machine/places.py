"""Where machine directories are, by name.

Source: docker-machine's ``--storage-path`` (MACHINE_STORAGE_PATH, else ~/.docker/machine) and minikube's
localpath.go (MINIKUBE_HOME, which may or may not end in ``.minikube``, else ~/.minikube); Minishift's state
package (MINISHIFT_HOME, else ~/.minishift); boot2docker-cli's one machine, ~/VirtualBox VMs/boot2docker-vm.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from b2dinspect.errors import UsageError
from b2dinspect.machine.files import is_folder

CLI_MACHINE = "boot2docker-vm"


def stores() -> tuple[Path, ...]:
    """Return the folders that hold machine directories on this host, those that exist."""
    found = [path / "machines" for path in _homes()]
    return tuple(dict.fromkeys(path for path in found if is_folder(path)))


def _first_machine() -> Path | None:
    """Return the folder of boot2docker-cli's only machine, which lies among those of VirtualBox."""
    home = _home()
    folder = home / "VirtualBox VMs" / CLI_MACHINE if home else None
    return folder if folder and is_folder(folder) else None


def _homes() -> Iterator[Path]:
    if value := os.environ.get("MACHINE_STORAGE_PATH"):
        yield Path(value)
    home = _home()
    if home is not None:
        yield home / ".docker" / "machine"
    if value := os.environ.get("MINIKUBE_HOME"):
        yield Path(value)
        yield Path(value) / ".minikube"
    if home is not None:
        yield home / ".minikube"
    if value := os.environ.get("MINISHIFT_HOME"):
        yield Path(value)
    if home is not None:
        yield home / ".minishift"


def _home() -> Path | None:
    try:
        return Path.home()
    except RuntimeError:
        return None


def machine_folder(argument: str) -> Path | None:
    """Return the machine directory that a path or a bare name means; None when there is none."""
    path = Path(argument)
    if is_folder(path):
        return path
    if argument in ("", ".", "..") or os.path.basename(argument) != argument:  # noqa: PTH119
        return None
    found = next((store / argument for store in stores() if is_folder(store / argument)), None)
    return found or (_first_machine() if argument == CLI_MACHINE else None)


def find_machines(folders: tuple[str, ...] = ()) -> tuple[Path, ...]:
    """Return the machine directories in the folders given, or in those of this host.

    A folder is a machine directory itself, a folder of them, or a store with ``machines`` in it.

    Raises:
        UsageError: One of the folders is none, or cannot be read.
    """
    from b2dinspect.machine.folder import looks_like_machine

    found: list[Path] = []
    first = None if folders else _first_machine()
    for folder in [Path(name) for name in folders] or [*stores(), *([first] if first else [])]:
        if not is_folder(folder):
            raise UsageError(f"{folder} is not a directory")
        if looks_like_machine(folder):
            found.append(folder)
            continue
        inner = folder / "machines" if is_folder(folder / "machines") else folder
        try:
            names = sorted(inner.iterdir())
        except OSError as error:
            raise UsageError(f"{inner}: {error.strerror}") from error
        # server-… directories hold nothing but certificates
        found += [path for path in names if is_folder(path) and looks_like_machine(path)]
    return tuple(found)


def store_of(folder: Path) -> tuple[Path | None, bool]:
    """Return the store that a machine directory lies in, and whether its program looks there by itself.

    None when it does not lie in any, so that docker-machine and minikube cannot know it.
    """
    there = folder.absolute()
    if there.parent.name != "machines":
        return None, False
    store = there.parent.parent
    if store.name == ".minishift" or _is_same(os.environ.get("MINISHIFT_HOME", ""), store):
        own = os.environ.get("MINISHIFT_HOME")
        places = [Path(own)] if own else _below_home(".minishift")
    elif store.name == ".minikube" or _is_same(os.environ.get("MINIKUBE_HOME", ""), store):
        own = os.environ.get("MINIKUBE_HOME")
        places = [Path(own), Path(own) / ".minikube"] if own else _below_home(".minikube")
    else:
        own = os.environ.get("MACHINE_STORAGE_PATH")
        places = [Path(own)] if own else _below_home(".docker", "machine")
    return store, any(_is_same(place, store) for place in places)


def _below_home(*names: str) -> list[Path]:
    home = _home()
    return [home.joinpath(*names)] if home else []


def _is_same(one: Path | str, other: Path) -> bool:
    try:
        return bool(one) and other.samefile(one)
    except (OSError, ValueError):
        return False
