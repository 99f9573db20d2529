"""Which bytes of a disk somebody else has changed: found by looking at the image before and after."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from b2dinspect.errors import EvidenceError
from b2dinspect.provisioning.disk.images import stored_chunks, written
from b2dinspect.provisioning.disk.rework import opened
from b2dinspect.provisioning.events import Write

PAGE = 4096


class Pages:
    """What is stored on a disk, page by page, to tell what has changed between two looks."""

    def __init__(self) -> None:
        self._seen: dict[int, int] = {}

    def update(self, image: Path) -> tuple[Write, ...]:
        """Look at the image again and return what is new, in whole pages of 4096 bytes, neighbours joined."""
        try:
            with opened(image) as disk:
                found = {
                    (offset + start) // PAGE: hash(data[start : start + PAGE])
                    for offset, data in stored_chunks(disk)
                    for start in range(0, len(data), PAGE)
                }
                changed = sorted(page for page in found if self._seen.get(page, _ZEROS) != found[page])
                self._seen = found
                return tuple(written(disk, start * PAGE, count * PAGE) for start, count in _runs(changed))
        except EvidenceError:  # QEMU is writing: the next look will tell
            return ()


_ZEROS = hash(bytes(PAGE))


def _runs(pages: list[int]) -> Iterator[tuple[int, int]]:
    start = count = 0
    for page in pages:
        if count and page == start + count:
            count += 1
            continue
        if count:
            yield start, count
        start, count = page, 1
    if count:
        yield start, count
