"""Data-roots whose author means harm: one clear line each, nothing obeyed, nothing followed."""

from __future__ import annotations

import contextlib
import gzip
import json
import random
import struct
import time
from pathlib import Path

import pytest

from b2dinspect.docker.bolt import Bolt, Bucket
from b2dinspect.docker.files import MAX_VALUES, Files, parse_json
from b2dinspect.docker.layers import chain_ids
from b2dinspect.errors import EvidenceError
from tests.cli.helpers import document, invoke, is_harmless
from tests.docker.handmade import (
    ROOT,
    Link,
    Tree,
    as_json,
    container,
    disk,
    graph,
    identity,
    in_two_places,
    podman,
    podman_database,
)
from tests.oracles import needs

pytestmark = needs("mke2fs")
WEB = f"{ROOT}/containers/{identity('web')}"


def told(image: Path, command: str, *words: object) -> str:
    """Return what a command complains about; it found something, and printed nothing that steers."""
    done = invoke("docker", command, image, *words)
    assert done.returncode == 1
    assert is_harmless(done.stderr.decode())
    assert is_harmless(done.stdout.decode())
    as_data = invoke("docker", command, "--json", image, *words)
    assert as_data.returncode == 1
    document(as_data, f"docker-{command}")
    return done.stderr.decode()


def overlay2(cache_id: str, parent: str = "") -> Tree:
    """Return a data-root with one image of two layers, whose upper one has this cache id and parent."""
    base, top = (f"sha256:{identity(name)}" for name in ("base", "top"))
    lower, upper = chain_ids([base, top])
    config = as_json({"rootfs": {"type": "layers", "diff_ids": [base, top]}})
    import hashlib

    name = hashlib.sha256(config).hexdigest()
    place = f"{ROOT}/image/overlay2"
    tree: Tree = {
        f"{ROOT}/containers": None,
        f"{place}/imagedb/content/sha256/{name}": config,
        f"{place}/repositories.json": as_json({"Repositories": {"evil": {"evil:1": f"sha256:{name}"}}}),
        f"{place}/layerdb/sha256/{lower}/cache-id": b"lower",
        f"{place}/layerdb/sha256/{lower}/diff": base.encode(),
        f"{place}/layerdb/sha256/{upper}/cache-id": cache_id.encode(),
        f"{place}/layerdb/sha256/{upper}/parent": f"sha256:{parent or lower}".encode(),
        f"{ROOT}/overlay2/lower/diff/file": b"x",
        f"{ROOT}/overlay2/upper/diff/file": b"y",
        "etc/diff/secret": b"secret",
    }
    return tree


@pytest.mark.parametrize("name", ["../../../etc", "..", "a/b", "", "x" * 300, "\x1b[31m"])
def test_a_layer_that_leads_elsewhere(name: str) -> None:
    complaint = told(disk(overlay2(name)), "images")
    assert "1 of its 2 layers are not on this disk" in complaint


def test_layers_that_name_each_other() -> None:
    upper = chain_ids([f"sha256:{identity(name)}" for name in ("base", "top")])[1]
    tree = overlay2("upper", parent=upper)
    own = identity("web")
    mount = f"{ROOT}/image/overlay2/layerdb/mounts/{own}"
    tree |= {f"{mount}/mount-id": b"lower", f"{mount}/parent": f"sha256:{upper}".encode()}
    tree[f"{WEB}/config.v2.json"] = as_json(container("web", "", "overlay2"))
    assert "name each other" in told(disk(tree), "ps")


def test_images_that_name_each_other() -> None:
    tree = graph()
    base = identity("base")
    tree[f"{ROOT}/graph/{base}/json"] = as_json({"id": base, "parent": identity("top")})
    assert "name each other" in told(disk(tree), "images")


@pytest.mark.parametrize(
    "name", ["$(rm -rf ~)", "[bold red]x[/]", "\x1b[2Jgone", "a\nb", "\u202egpj", "../../etc", "\ud800", ""]
)
@pytest.mark.slow(but=3)
def test_a_name_is_shown_and_not_obeyed(name: str) -> None:
    tree = graph()
    tree[f"{WEB}/config.json"] = as_json(container("web", identity("top"), "aufs", Name=f"/{name}"))
    image = disk(tree)
    done = invoke("docker", "ps", image)
    assert (done.returncode, done.stderr) == (0, b"")
    assert is_harmless(done.stdout.decode())
    (found,) = document(invoke("docker", "ps", "--json", image), "docker-ps")["containers"]
    assert found["name"] == name
    for page in ("--markdown", "--force"):
        report = invoke("report", page, image).stdout.decode()
        assert "<b>" not in report or "[bold" in report
        assert "\x1b" not in report


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b" " * (10 << 20), "where at most"),
        (b'{"a":' * 100_000, "no JSON"),
        (b"[" * 1000 + b"]" * 1000, "brackets"),
        (b"[1, 2]", "no object"),
        (b'{"Created": NaN}', "NaN"),
        (b'{"ID": "x", ', "no JSON"),
        (b"\xff\xfe\0\0", "no JSON"),
        (b"1" * 10_000, "no JSON"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_configuration_that_is_none(data: bytes, reason: str) -> None:
    tree = graph()
    tree[f"{WEB}/config.json"] = data
    start = time.monotonic()
    complaint = told(disk(tree), "ps")
    assert reason in complaint
    assert "without a configuration that can be read" in complaint
    assert time.monotonic() - start < 20


def test_values_of_the_wrong_kind_count_as_nothing() -> None:
    kinds: list[object] = [None, 1, "x", [], {}, [[]], {"a": 1}]
    keys = ("Name", "Created", "Path", "Args", "State", "Config", "Image", "Driver", "MountPoints", "Volumes")
    shuffled = random.Random(5)
    for _ in range(4):
        tree = graph()
        document_ = container("web", identity("top"), "aufs") | {key: shuffled.choice(kinds) for key in keys}
        tree[f"{WEB}/config.json"] = as_json(document_)
        tree[f"{WEB}/hostconfig.json"] = as_json(shuffled.choice(kinds))
        image = disk(tree)
        for command in ("ps", "images", "volumes"):
            done = invoke("docker", command, "--json", image)
            assert done.returncode in (0, 1)
            document(done, f"docker-{command}")
        assert invoke("docker", "inspect", image, identity("web")).returncode in (0, 1)


def test_a_volume_that_is_a_link() -> None:
    tree = graph()
    volume = f"{ROOT}/volumes/{identity('volume')}/_data"
    tree = {name: content for name, content in tree.items() if not name.startswith(volume)}
    tree |= {volume: Link("/etc"), "etc/shadow": b"root:x"}
    image = disk(tree)
    assert "a symbolic link to /etc, which is not followed" in told(image, "volumes")
    (found,) = document(invoke("docker", "volumes", "--json", image), "docker-volumes")["volumes"]
    assert found["size"] is None


def test_a_configuration_that_is_a_link() -> None:
    tree = graph() | {f"{WEB}/config.v2.json": Link("/etc/passwd")}
    assert "a symlink, where a file belongs" in told(disk(tree), "ps")


@pytest.mark.parametrize(
    "junk", [b"no json\n", b'{"log": 1}\n', b"x" * (2 << 20) + b"\n", b"\0" * 4096 + b"{\n"]
)
def test_lines_of_a_log_that_are_none(junk: bytes) -> None:
    tree = graph()
    log = f"{WEB}/{identity('web')}-json.log"
    line = tree[log]
    assert isinstance(line, bytes)
    tree[log] = line + junk + line
    done = invoke("docker", "logs", disk(tree), "web")
    assert (done.returncode, done.stdout) == (1, b"hello\nhello\n")
    assert done.stderr.count(b"\n") == 1


@pytest.mark.slow
def test_a_packed_log_that_never_ends() -> None:
    tree = graph()
    line = json.dumps({"log": "x" * 1000 + "\n", "stream": "stdout", "time": "2017-03-04T05:06:08Z"}).encode()
    tree[f"{WEB}/{identity('web')}-json.log.1.gz"] = gzip.compress((line + b"\n") * 10_000)
    done = invoke("docker", "logs", "--tail", "2", disk(tree), "web")
    assert (done.returncode, done.stdout) == (0, b"x" * 1000 + b"\nhello\n")


@pytest.mark.parametrize(
    "frames",
    [
        struct.pack(">I", 0xFFFFFFFF) + b"x",
        struct.pack(">I", 3) + b"\x1a\x01h" + struct.pack(">I", 4),
        struct.pack(">I", 30) + b"\x1a\x01h",
        struct.pack(">I", 2) + b"\xff\xff" + struct.pack(">I", 2),
    ],
    ids=["huge", "two lengths", "cut", "no protobuf"],
)
def test_frames_of_a_log_that_are_none(frames: bytes) -> None:
    tree = {name: content for name, content in graph().items() if not name.endswith("-json.log")}
    good = b"\x0a\x06stdout\x10\x01\x1a\x05hello"
    length = struct.pack(">I", len(good))
    tree[f"{WEB}/local-logs/container.log"] = length + good + length + frames
    done = invoke("docker", "logs", disk(tree), "web")
    assert done.returncode == 1
    assert done.stdout.startswith(b"hello\n")
    assert done.stderr.count(b"\n") == 1


# --- BoltDB ------------------------------------------------------------------------------------------------


def walk(bucket: Bucket) -> int:
    return sum(1 + (walk(value) if isinstance(value, Bucket) else 0) for _, value in bucket.items())


def small_bolt() -> bytes:
    """Return a database of one bucket with one key, as bbolt lays it out."""

    def page(number: int, flags: int, count: int, body: bytes) -> bytes:
        return (struct.pack("<QHHI", number, flags, count, 0) + body).ljust(4096, b"\0")

    def meta(number: int, txid: int) -> bytes:
        body = struct.pack("<IIIIQQQQQ", 0xED0CDAED, 2, 4096, 0, 3, 0, 2, 4, txid)
        found = 0xCBF29CE484222325
        for byte in body:
            found = (found ^ byte) * 0x100000001B3 % (1 << 64)
        return page(number, 4, 0, body + struct.pack("<Q", found))

    inline = struct.pack("<QHHI", 0, 2, 1, 0) + struct.pack("<IIII", 0, 16, 1, 1) + b"kv"
    value = struct.pack("<QQ", 0, 0) + inline
    leaf = struct.pack("<IIII", 1, 16, 7, len(value)) + b"volumes" + value
    return meta(0, 1) + meta(1, 2) + page(2, 16, 0, b"") + page(3, 2, 1, leaf)


def test_bolt_reads_a_bucket_within_a_page() -> None:
    bucket = Bolt(small_bolt()).root.bucket(b"volumes")
    assert bucket is not None
    assert bucket.values() == {b"k": b"v"}


def test_bolt_takes_the_newer_sound_meta_page() -> None:
    data = bytearray(small_bolt())
    data[4096 + 16 + 56] ^= 1
    assert walk(Bolt(bytes(data)).root) == 2


def test_bolt_survives_any_byte() -> None:
    data, shuffled = small_bolt(), random.Random(7)
    for _ in range(3000):
        changed = bytearray(data)
        for _ in range(shuffled.randrange(1, 4)):
            place = shuffled.choice((shuffled.randrange(80), 12288 + shuffled.randrange(120)))
            changed[place] = shuffled.randrange(256)
        try:
            walk(Bolt(bytes(changed)).root)
        except EvidenceError:
            continue


def test_bolt_pages_that_lead_into_each_other() -> None:
    branch = struct.pack("<QHHI", 3, 1, 200, 0) + struct.pack("<IIQ", 0, 0, 3) * 200
    data = small_bolt()[:12288] + branch.ljust(4096, b"\0")
    start = time.monotonic()
    with pytest.raises(EvidenceError, match="lead into each other"):
        walk(Bolt(data).root)
    assert time.monotonic() - start < 5


def test_numbers_without_end_are_no_json() -> None:
    with pytest.raises(ValueError, match="digits"):
        parse_json(b"9" * 100_000)


def test_bolt_elements_that_lie_on_each_other() -> None:
    """A mebibyte that is the value of ten thousand keys: ten gigabytes, if each were kept."""
    keys = 10_000
    body, room = b"", 16 * keys
    for index in range(keys):
        body += struct.pack("<IIII", 0, room - 16 * index, 0, 1 << 20)
    page = struct.pack("<QHHI", 3, 2, keys, 1 << 10) + body + bytes(1 << 20)
    with pytest.raises(EvidenceError, match="lie on each other"):
        Bolt(small_bolt()[:12288] + page).root.values()


def test_documents_share_what_may_be_read() -> None:
    files = Files(None)  # type: ignore[arg-type]
    data = b"[" + b"{}," * (MAX_VALUES // 3) + b"{}]"
    found = [files.parse(b"place", data) is not None for _ in range(4)]
    assert found == [True, True, False, False]
    assert files.problems[0].message.endswith("which is all that is read")
    assert files.parse(b"place", b"{}") == {}


def test_documents_share_the_bytes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("b2dinspect.docker.files.MAX_ALL_JSON", 10)
    files = Files(None)  # type: ignore[arg-type]
    assert files.parse(b"place", b'{"a": 1}') == {"a": 1}
    assert files.parse(b"place", b'{"a": 1}') is None
    assert "bytes already" in files.problems[0].message


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE VIEW VolumeConfig AS SELECT 'kept' AS Name, hex(zeroblob(400000000)) AS JSON",
        "CREATE TABLE VolumeConfig(Name TEXT, JSON TEXT AS (hex(zeroblob(400000000))))",
        "CREATE VIRTUAL TABLE VolumeConfig USING fts5(Name, JSON)",
    ],
    ids=["view", "calculated column", "virtual table"],
)
def test_a_database_that_calculates_is_not_asked(statement: str) -> None:
    import sqlite3

    tree = podman()
    database = sqlite3.connect(":memory:")
    database.deserialize(podman_database()[:18] + b"\1\1" + podman_database()[20:])
    try:
        database.executescript(f"DROP TABLE VolumeConfig; {statement}; PRAGMA user_version=1")
    except sqlite3.OperationalError as error:
        pytest.skip(f"this SQLite has none: {error}")
    with contextlib.suppress(sqlite3.OperationalError):  # a view
        database.execute("INSERT INTO VolumeConfig(Name) VALUES ('kept')")
    database.commit()
    tree["var/lib/containers/storage/db.sql"] = database.serialize()
    database.close()
    assert "VolumeConfig is not a plain table" in told(disk(tree), "volumes")


@needs("debugfs")
@pytest.mark.parametrize("driver", ["aufs", "overlay"])
@pytest.mark.parametrize(
    "words",
    [("diff",), ("export", "-o", "OUT"), ("cp", ":/", "OUT"), ("rescue", "OUT")],
    ids=lambda words: words[0],
)
def test_a_directory_has_one_place(words: tuple[str, ...], driver: str, tmp_path: Path) -> None:
    """Forty directories with two names each would be a million million files; one in itself never ends."""
    depth = 40
    tree = graph(driver)
    own = next(name for name in tree if name.endswith((f"{identity('web')}/own", "/upper/own")))
    tree[own.removesuffix("own") + "deep/" * depth + "file"] = b"x"
    image = in_two_places(disk(tree), own.removesuffix("/own"), depth)
    command, *more = (word.replace("OUT", str(tmp_path / "out")) for word in words)
    named = [] if command == "rescue" else ["web"]
    if command == "cp":
        named, more = [], [f"web{more[0]}", more[1]]
    start = time.monotonic()
    done = invoke("docker", command, image, *named, *more)
    assert time.monotonic() - start < 20
    assert done.returncode == 1
    assert b"again: filesystem: a directory inside itself" in done.stderr
    assert (
        b"twin: filesystem: a directory that is" in done.stderr
        or b"deep: filesystem: a directory that is" in (done.stderr)
    )
