"""Questions to a disk's fields."""

from __future__ import annotations

import json

import pytest

from tests.cli.helpers import invoke, unpacked, validator


@pytest.fixture(scope="module")
def image() -> str:
    return str(unpacked("provisioned-autoformat.vdi"))


@pytest.mark.parametrize(
    ("expression", "answer"),
    [
        ("header.block_size", "1048576"),
        ("state", "provisioned"),
        ("partitions[0].start_sector", "2050048"),
        ("length(keys[?in_force])", "2"),
        ("fields[?structure == 'GPT header (primary)' && name == 'signature'].offset | [0]", "512"),
    ],
)
def test_what_is_there(image: str, expression: str, answer: str) -> None:
    done = invoke("query", image, expression)
    assert (done.returncode, done.stdout.decode()) == (0, f"{answer}\n")


def test_fields_tell_where_they_are_on_the_disk_and_in_the_file(image: str) -> None:
    found = json.loads(invoke("query", image, "fields[?offset == `512` && space == 'virtual'] | [0]").stdout)
    with open(image, "rb") as file:
        file.seek(found["file_offset"])
        assert file.read(found["size"]) == b"EFI PART"
    inside = json.loads(invoke("query", image, "fields[?space == 'file'].[offset, file_offset]").stdout)
    assert inside
    assert all(one == two for one, two in inside)


def test_as_json(image: str) -> None:
    document = json.loads(invoke("query", image, "magic", "--json").stdout)
    validator("query").validate(document)
    assert document["result"]["found"] is False


@pytest.mark.parametrize(
    ("expression", "nearest"),
    [
        ("header.blocksize", "header.block_size"),
        ("partitons", "partitions"),
        ("partitions[0].start_sectr", "partitions[0].start_sector"),
        ("zzzzz", None),
        ("partitions[9].label", None),
        ("userdata[?source == 'nowhere']", None),
    ],
)
def test_what_is_not_there(image: str, expression: str, nearest: str | None) -> None:
    done = invoke("query", image, expression)
    assert done.returncode == 1
    said = done.stderr.decode()
    assert (f"the nearest is {nearest}\n" in said) if nearest else (said == "")


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("header.", "the expression makes no sense"),
        ("sum(state)", "the expression does not fit what is there"),
        ("[" * 3000, "the expression makes no sense"),
        ("a" * 5000, "4096 are read"),
    ],
)
def test_what_is_no_question(image: str, expression: str, message: str) -> None:
    done = invoke("query", image, expression)
    assert done.returncode == 2
    assert message in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1
