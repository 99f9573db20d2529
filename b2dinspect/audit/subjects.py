"""What there is to audit below a folder: machine directories, each as a whole, and images by themselves."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from b2dinspect.errors import UsageError
from b2dinspect.evidence.urls import is_url, scheme_of, shown
from b2dinspect.machine.files import is_folder
from b2dinspect.machine.folder import looks_like_machine

SUFFIXES = (".vdi", ".vhd", ".vhdx", ".vmdk", ".qcow2", ".img", ".raw", ".rawdisk", ".dd", ".ova", ".hds")
PACKED = (".gz", ".xz", ".bz2", ".zst")
MACHINES = (".tar", ".tar.gz", ".tar.xz", ".tgz", ".zip")
"""What a packed machine directory can be called; what is none is told so in its record."""
FIRST_PIECE = re.compile(r"\.(?:000|001|aa)$")
PART = re.compile(r"-(?:flat|delta|[fs]\d{3})\.vmdk$")
"""Files that a VMDK's descriptor names: no disks by themselves."""


def subjects_below(roots: Iterable[str]) -> Iterator[str]:
    """Yield the paths, or URLs, of all subjects, sorted within each folder; links are not followed.

    Raises:
        UsageError: A root is neither a folder nor a file, or no URL that is read.
    """
    for root in roots:
        if is_url(root):
            yield from _below_url(root)
        elif is_folder(Path(root)):
            yield from _below(os.path.abspath(root))
        elif Path(root).is_file():
            yield os.path.abspath(root)
        else:
            raise UsageError(f"{root}: no such file or directory")


def is_image(name: str) -> bool:
    """Tell whether a file is called as images are, or packed machine directories."""
    lower = name.lower()
    packed = next((one for one in PACKED if lower.endswith(one)), "")
    inner = lower.removesuffix(packed)
    if PART.search(lower):
        return False
    return inner.endswith(SUFFIXES) or lower.endswith(MACHINES) or bool(FIRST_PIECE.search(inner))


def _below(folder: str) -> Iterator[str]:
    if looks_like_machine(Path(folder)):
        yield folder
        return
    try:
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return
    for entry in found:
        if entry.is_dir(follow_symlinks=False):
            yield from _below(entry.path)
        elif entry.is_file(follow_symlinks=False) and is_image(entry.name):
            yield entry.path


def _below_url(root: str) -> Iterator[str]:
    scheme = scheme_of(root)
    try:
        import fsspec
    except ImportError:
        raise UsageError("URLs are read with fsspec (pip install 'b2dinspect[remote]')") from None
    try:
        fs, path = fsspec.core.url_to_fs(root)
        names = sorted(fs.find(path))
    except Exception as error:
        raise UsageError(f"{shown(root)} cannot be listed: {type(error).__name__}") from None
    for name in names or [path]:
        if is_image(name):
            yield name if is_url(name) else f"{scheme}://{name}"
