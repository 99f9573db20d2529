"""``show``: what it says of every sample, and that each offset it prints points at the very bytes."""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
import struct
import uuid
from pathlib import Path
from typing import Any

import pytest

from b2dinspect.provisioning.keypair import sample_key as key
from b2dinspect.userdata.tarball import MAGIC
from tests.cli.helpers import MANIFEST, SAMPLES, document, evidence_bytes, invoke, snapshot, unpacked

VDIS = [name for name in MANIFEST if name.endswith(".vdi")]


def expected(name: str) -> dict[str, Any]:
    return MANIFEST[name]["expected"]


def shown(name: str, *options: str) -> dict[str, Any]:
    return document(invoke("show", "--json", *options, unpacked(name)), "show")


@pytest.mark.parametrize("name", MANIFEST)
@pytest.mark.slow
def test_text_of_a_packed_sample(name: str) -> None:
    packed = SAMPLES / f"{name}.gz"
    before = snapshot(packed)
    done = invoke("show", packed)
    text = done.stdout.decode()
    assert (done.returncode, done.stderr) == (expected(name)["exit"], b"")
    assert re.search(rf"^State +{expected(name)['state']}: ", text, re.MULTILINE)
    assert re.search(rf"^Guest +{expected(name)['guest']}\b", text, re.MULTILINE)
    joined = "".join(text.split())
    assert all(f"[{finding}" in joined for finding in expected(name)["findings"])
    assert bool(expected(name)["findings"]) != bool(re.search(r"^Odd +nothing", text, re.MULTILINE))
    assert all(fingerprint in joined for fingerprint in expected(name)["keys"] if fingerprint)
    assert snapshot(packed) == before


@pytest.mark.parametrize("name", MANIFEST)
def test_json_of_a_sample(name: str) -> None:
    done = invoke("show", "--json", unpacked(name))
    found = document(done, "show")
    assert (done.returncode, done.stderr) == (expected(name)["exit"], b"")
    assert (found["path"], found["read_from"]) == (str(unpacked(name)), "file")
    assert (found["state"], found["guest"]["profile"]) == (expected(name)["state"], expected(name)["guest"])
    assert found["magic"]["found"] == expected(name)["magic"]
    assert found["container"]["virtual_size"] == expected(name)["virtual_size"]
    assert found["container"]["file_size"] == MANIFEST[name]["size"]
    assert [item["id"] for item in found["findings"]] == expected(name)["findings"]
    assert [item["source"] for item in found["userdata"]] == expected(name)["userdata"]
    assert [item["fingerprint_sha256"] for item in found["keys"]] == expected(name)["keys"]


def file_offset(content: bytes, facts: dict[str, Any], virtual: int) -> int:
    """Return where a byte of the disk is in its file, by our own reading of the block map."""
    if facts["container"]["format"] == "raw":
        return virtual
    block_size, map_at, data_at = (
        facts["container"]["header"][name] for name in ("block_size", "blocks_offset", "data_offset")
    )
    block, within = divmod(virtual, block_size)
    (place,) = struct.unpack_from("<I", content, map_at + 4 * block)
    assert place < 0xFFFFFFFE
    return data_at + place * block_size + within


@pytest.mark.parametrize("name", MANIFEST)
def test_offsets_point_at_the_very_bytes(name: str) -> None:
    facts, content = shown(name), unpacked(name).read_bytes()
    at = facts["magic"]["file_offset"]
    assert facts["magic"]["found"] == (at is not None and content[at : at + len(MAGIC)] == MAGIC)
    for wrong in facts["magic"]["damaged_at"]:
        assert content[at + wrong] != MAGIC[wrong]
    if (copy := facts["magic"]["copy_virtual_offset"]) is not None:
        where = file_offset(content, facts, copy)
        assert content[where : where + len(MAGIC)] == MAGIC
    fingerprints = []
    for tar in facts["userdata"]:
        assert tar["file_offset"] == file_offset(content, facts, tar["virtual_offset"])
        assert tar["entries"][0]["file_offset"] == tar["file_offset"]
        for entry in tar["entries"]:
            where = entry["file_offset"]
            assert where == file_offset(content, facts, entry["virtual_offset"])
            assert content[where : where + 100].split(b"\0")[0] == evidence_bytes(entry["name"])
            assert content[where + 257 : where + 262] == b"ustar"
            if entry["name"].startswith(".ssh/"):
                blob = content[where + 512 : where + 512 + entry["available"]].split(b" ")[1]
                fingerprints.append(fingerprint(blob) if not tar["truncated"] else None)
    assert [item["fingerprint_sha256"] for item in facts["keys"]] == fingerprints


def fingerprint(blob: bytes) -> str:
    digest = hashlib.sha256(base64.b64decode(blob)).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def test_key_bytes_are_where_the_tar_entry_says() -> None:
    for name, owner in (
        ("fresh.raw", "owner"),
        ("out-of-order.vdi", "owner"),
        ("key-replaced.vdi", "new-owner"),
    ):
        content = unpacked(name).read_bytes()
        entries = shown(name)["userdata"][0]["entries"]
        (entry,) = [entry for entry in entries if entry["name"] == ".ssh/authorized_keys"]
        at = entry["file_offset"] + 512
        assert content[at : at + entry["size"]] == key(owner)


def test_finding_offsets_count_in_the_space_they_name() -> None:
    (finding,) = shown("magic-damaged.vdi")["findings"]
    content = unpacked("magic-damaged.vdi").read_bytes()
    assert (finding["offset"], finding["space"]) == (4, "virtual")
    assert content[file_offset(content, shown("magic-damaged.vdi"), 4)] == ord("7")


@pytest.mark.parametrize("name", ["fresh.vdi", "provisioned-minikube.vdi"])
def test_headers_show_every_field_of_the_vdi_header_with_its_value(name: str) -> None:
    content = unpacked(name).read_bytes()
    headers = [item for item in shown(name, "--headers")["headers"] if item["name"].startswith("VDI")]
    text = invoke("show", "--headers", unpacked(name), columns=300).stdout.decode()
    end = 0
    for header in headers:
        assert (header["space"], header["offset"]) == ("file", end)
        for field in header["fields"]:
            at = header["offset"] + field["offset"]
            assert at == end
            end = at + field["size"]
            value = stored(content[at:end], field["value"])
            assert field["value"] == value
            row = rf"^ +{field['offset']:#x} +{field['size']}  {field['name']}  +{re.escape(printed(value))}"
            assert re.search(row, text, re.MULTILINE), row
    assert end == 72 + 400
    names = [field["name"] for header in headers for field in header["fields"]]
    assert len(names) == len(set(names))
    assert {"signature", "header_size", "type", "uuid_create", "lchs_sector_size", "block_extra"} <= set(
        names
    )


def stored(data: bytes, like: object) -> object:
    if isinstance(like, int):
        return int.from_bytes(data, "little")
    return str(uuid.UUID(bytes_le=data)) if len(data) == 16 else data.rstrip(b"\0").decode()


def printed(value: object) -> str:
    if isinstance(value, str) and re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", value):
        return value
    if isinstance(value, str):
        return '"{}"'.format(value.replace("\n", "\\n")) if value else "zeros"
    return f"{value} ({value:#x})" if isinstance(value, int) and value > 9 else str(value)


def test_text_and_json_show_the_same_headers() -> None:
    text = invoke("show", "--headers", unpacked("provisioned-automount.vdi"), columns=200).stdout.decode()
    names = [header["name"] for header in shown("provisioned-automount.vdi", "--headers")["headers"]]
    assert re.findall(r"^(\S.*) at (?:file|virtual) offset", text, re.MULTILINE) == names
    assert {"ext4 superblock", "data tar header", "residue tar header"} <= set(names)
    assert "headers" not in shown("provisioned-automount.vdi")


def test_tar_headers_are_given_where_they_are_on_the_disk() -> None:
    facts = shown("provisioned-automount.vdi", "--headers")
    tars = [header["offset"] for header in facts["headers"] if header["name"] == "data tar header"]
    assert tars == [entry["virtual_offset"] for entry in facts["userdata"][0]["entries"]]


def test_format_raw_shows_the_vdi_file_itself() -> None:
    path = unpacked("fresh.vdi")
    done = invoke("show", "--json", "--format", "raw", path)
    found = document(done, "show")
    assert done.returncode == 1
    assert found["container"]["format"] == "raw"
    assert found["container"]["virtual_size"] == path.stat().st_size
    assert found["state"] == "foreign"
    assert path.read_bytes()[:16].hex(" ") in found["reason"]


@pytest.mark.parametrize("format_name", ["vdi", "bogus", ""])
def test_a_format_that_does_not_fit_is_trouble(format_name: str) -> None:
    done = invoke("show", "--format", format_name, unpacked("fresh.raw"))
    assert (done.returncode, done.stdout) == (2, b"")


def test_a_fresh_raw_disk_stores_no_more_than_its_data() -> None:
    assert 4096 <= shown("fresh.raw")["container"]["allocated_size"] < 1 << 20


def test_several_gzip_members_are_one_disk(tmp_path: Path) -> None:
    content = unpacked("fresh.vdi").read_bytes()
    path = tmp_path / "two.gz"
    path.write_bytes(gzip.compress(content[:100_000]) + gzip.compress(content[100_000:]))
    found = document(invoke("show", "--json", path), "show")
    assert (found["state"], found["read_from"]) == ("fresh", "gzip")
    assert found["container"]["file_size"] == len(content)
