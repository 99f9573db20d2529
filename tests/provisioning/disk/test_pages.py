"""What somebody else changed on an image, found by looking twice."""

from __future__ import annotations

from pathlib import Path

from b2dinspect.provisioning.disk.pages import PAGE, Pages

SIZE = 8 << 20


def image(folder: Path) -> Path:
    path = folder / "disk.img"
    with path.open("wb") as file:
        file.truncate(SIZE)
    return path


def write(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def places(path: Path, pages: Pages) -> list[tuple[int, int]]:
    return [(one.virtual_offset, one.length) for one in pages.update(path)]


def test_only_what_is_new_is_told_in_whole_pages(tmp_path: Path) -> None:
    path, pages = image(tmp_path), Pages()
    assert places(path, pages) == []
    write(path, 3 * PAGE + 7, b"x")
    assert places(path, pages) == [(3 * PAGE, PAGE)]
    assert places(path, pages) == []
    write(path, 3 * PAGE + 7, b"y")
    assert places(path, pages) == [(3 * PAGE, PAGE)]


def test_neighbours_are_joined_and_others_are_not(tmp_path: Path) -> None:
    path, pages = image(tmp_path), Pages()
    write(path, PAGE - 1, b"xx")
    write(path, 5 * PAGE, b"x" * (2 * PAGE))
    assert places(path, pages) == [(0, 2 * PAGE), (5 * PAGE, 2 * PAGE)]


def test_the_first_bytes_that_are_not_zero_are_shown(tmp_path: Path) -> None:
    path, pages = image(tmp_path), Pages()
    write(path, 2 * PAGE + 100, b"hello")
    (found,) = pages.update(path)
    assert found.file_offset == 2 * PAGE
    assert found.head_offset == 2 * PAGE + 100
    assert found.head.startswith(b"hello\0")


def test_an_image_that_cannot_be_read_yet_tells_nothing(tmp_path: Path) -> None:
    path = tmp_path / "disk.vdi"
    path.write_bytes(b"")
    assert Pages().update(path) == ()
