"""What is worth changing in an image, as the commands themselves see the sound one."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import NamedTuple

from tests.fuzz.edits import Place


class Hot(NamedTuple):
    """What is worth changing in an image.

    Attributes:
        fields: Of all headers that are stored.
        stretches: Stretches that are not zeros, metadata first.
        gpts: Where GPT headers are.
    """

    fields: tuple[Place, ...]
    stretches: tuple[Place, ...]
    gpts: tuple[int, ...]


def hot_places(image: Path) -> Hot:
    """Return what is worth changing, as the commands themselves see the sound image."""
    from b2dinspect.errors import B2dError

    size = image.stat().st_size
    with image.open("rb") as file:

        def pread(offset: int, length: int) -> bytes:
            return os.pread(file.fileno(), length, offset)

        fields: list[Place] = []
        stretches = [Place(0, min(size, 4096), "head"), Place(max(0, size - 1024), min(size, 1024), "tail")]
        gpts: list[int] = []
        with contextlib.suppress(B2dError):
            found, virtual = _seen(image)
            fields += [one for one in found if one.offset + one.size <= size]
            gpts = [one.offset for one in found if one.name == "GPT signature"]
            stretches += virtual
        with contextlib.suppress(FileNotFoundError):
            marked = json.loads(image.with_name(".places").read_text())
            stretches += 20 * [Place(*one) for one in marked]  # files that are the point of it
        step = max(4096, size // 8192 // 4096 * 4096)
        stored = [at for at in range(0, size, step) if pread(at, min(step, 4096)).strip(b"\0")]
        stretches += [Place(at, min(4096, size - at), "stored") for at in stored[:400]]
    return Hot(tuple(fields), tuple(stretches), tuple(gpts))


def _seen(image: Path) -> tuple[list[Place], list[Place]]:
    from b2dinspect.inspection.walk import inspect
    from b2dinspect.views.annotation import all_headers

    places: list[Place] = []
    stretches: list[Place] = []
    with inspect(str(image)) as facts:
        for header in all_headers(facts):
            base = header.offset if header.space == "file" else facts.container.locate(header.offset)
            if base is None:
                continue
            for field in header.fields():
                is_gpt = field.offset == 0 and field.value in (
                    b"EFI PART",
                    int.from_bytes(b"EFI PART", "little"),
                )
                places.append(
                    Place(base + field.offset, max(1, field.size), "GPT signature" if is_gpt else field.name)
                )
            stretches.append(Place(base, len(header.data), header.name))
        for extent in facts.container.extents():
            start = extent.file_offset
            if extent.kind == "data" and start is not None and len(stretches) < 200:
                stretches.append(Place(start, min(extent.length, 4096), "block"))
    return places, 4 * stretches


def save_hot(hot: Hot, path: Path) -> None:
    path.write_text(json.dumps(hot))


def load_hot(path: Path) -> Hot:
    fields, stretches, gpts = json.loads(path.read_text())
    return Hot(tuple(Place(*one) for one in fields), tuple(Place(*one) for one in stretches), tuple(gpts))
