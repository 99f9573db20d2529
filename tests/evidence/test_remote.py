"""Evidence on another machine: servers that do as they are asked, and servers that do not."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from b2dinspect.errors import B2dError, SourceError, UsageError
from b2dinspect.evidence import remote
from b2dinspect.evidence.file import open_evidence
from b2dinspect.evidence.urls import is_url, scheme_of, shown
from b2dinspect.inspection.walk import inspect
from tests.cli.helpers import invoke, unpacked
from tests.oracles import needs, run

pytest.importorskip("aiohttp", reason="aiohttp is not installed (pip install 'b2dinspect[remote]')")
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning:aiohttp", "ignore::DeprecationWarning")

Answer = Callable[["Handler", int, int], None]


class Handler(BaseHTTPRequestHandler):
    """Gives ranges of one file; ``server.answer`` may do something else."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        told = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        start, last = map(int, told.groups()) if told else (0, self.server.size - 1)  # type: ignore[attr-defined]
        last = min(last, self.server.size - 1)  # type: ignore[attr-defined]
        self.server.asked.append((start, last + 1))  # type: ignore[attr-defined]
        self.server.answer(self, start, last + 1)  # type: ignore[attr-defined]

    def give(self, start: int, end: int, *, status: int = 206, cut: int = 0, **headers: str) -> None:
        size = self.server.size  # type: ignore[attr-defined]
        body = os.pread(self.server.fd, end - start, start)  # type: ignore[attr-defined]
        told = {
            "Content-Range": f"bytes {start}-{end - 1}/{size}",
            "ETag": '"one"',
            "Content-Length": str(len(body)),
        }
        self.send_response(status)
        for name, value in {**told, **{key.replace("_", "-"): text for key, text in headers.items()}}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[: len(body) - cut])
        self.close_connection = bool(cut)

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, path: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.fd = os.open(path, os.O_RDONLY)
        self.size = os.fstat(self.fd).st_size
        self.asked: list[tuple[int, int]] = []
        self.answer: Answer = Handler.give
        self.url = f"http://127.0.0.1:{self.server_port}/{path.name}"

    def handle_error(self, *_: object) -> None:
        """Say nothing: clients go away when they have had enough."""


Serve = Callable[[Path], Server]


@pytest.fixture
def serve() -> Iterator[Serve]:
    servers: list[Server] = []

    def start(path: Path) -> Server:
        server = Server(path)
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
        os.close(server.fd)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"PAUSE": 0.01, "SILENCE": 0.3, "PATIENCE": 1.0, "CONNECT": 1.0}.items():
        monkeypatch.setattr(remote, name, value)


# --- what is a URL ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", [r"C:\disk.vdi", "C:/disk.vdi", "C://disk.vdi", "disk.vdi", "-", "a:b//c", "//h/x"]
)
def test_files_are_no_urls(path: str) -> None:
    assert not is_url(path)
    assert shown(path) == path


@pytest.mark.parametrize(
    "url", ["nbd://host/disk", "file:///etc/passwd", "memory://x", "ftp://h/x", "json://x"]
)
def test_other_schemes_are_refused(url: str) -> None:
    assert is_url(url)
    with pytest.raises(UsageError, match="is not read"):
        scheme_of(url)
    done = invoke("show", url)
    assert (done.returncode, done.stdout) == (2, b"")


def test_secrets_are_not_shown() -> None:
    assert shown("https://me:pa@ss@host/d.vdi?X-Amz-Signature=s#f") == "https://host/d.vdi?…"
    done = invoke("show", "http://me:secret@127.0.0.1:9/d.vdi?signature=secret")
    assert done.returncode == 2
    assert b"secret" not in done.stdout + done.stderr


# --- a server that does as it is asked ---------------------------------------------------------------------


@pytest.mark.parametrize("name", ["fresh.vdi", "provisioned-automount.vdi", "provisioned-minikube.vdi"])
def test_a_remote_disk_is_what_a_file_is(name: str, serve: Serve) -> None:
    server = serve(unpacked(name))
    here, there = (invoke("show", "--json", one) for one in (unpacked(name), server.url))
    first, second = json.loads(here.stdout), json.loads(there.stdout)
    assert (second["path"], second["read_from"]) == (server.url, "remote")
    for one in (first, second):
        del one["path"], one["read_from"]
        del one["container"]["allocated_size"]
    assert first == second


@needs("qemu-img")
@pytest.mark.parametrize("name", ["vdi", "vmdk", "qcow2", "raw", "vpc"])
def test_show_needs_few_requests(name: str, serve: Serve, tmp_path: Path) -> None:
    path = unpacked("provisioned-autoformat.vdi")
    if name != "vdi":
        path = tmp_path / f"disk.{name}"
        run("qemu-img", "convert", "-O", name, unpacked("provisioned-autoformat.vdi"), path)
    server = serve(path)
    with inspect(server.url) as facts:
        assert facts.state == "provisioned"
    received = sum(end - start for start, end in server.asked)
    assert len(server.asked) <= 40
    assert received <= 4 << 20


@pytest.mark.slow
def test_every_command_reads_a_url(serve: Serve) -> None:
    url = serve(unpacked("containers.vdi")).url
    for words in (("keys",), ("doctor",), ("docker", "ps"), ("ls",), ("verify",)):
        assert invoke(*words, url).returncode in (0, 1), words
    found = invoke("search", url, "--json", "--kind", "public-key")
    assert len(found.stdout.splitlines()) == 5


def test_a_packed_one_is_unpacked(serve: Serve) -> None:
    from tests.cli.helpers import SAMPLES

    with inspect(serve(SAMPLES / "fresh.vdi.gz").url) as facts:
        assert (facts.origin, facts.state) == ("gzip", "fresh")


def test_names_in_a_remote_image_are_not_followed(serve: Serve, tmp_path: Path) -> None:
    base, child = tmp_path / "base.qcow2", tmp_path / "child.qcow2"
    base.write_bytes(b"")
    run("qemu-img", "create", "-q", "-f", "qcow2", base, "4M")
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", child)
    with inspect(serve(child).url) as facts:
        assert {one.id for one in facts.container.findings} >= {"qcow2-parent-missing", "chain-refused"}


# --- servers that do not ------------------------------------------------------------------------------------


def refused(server: Server) -> str:
    began = time.monotonic()
    with pytest.raises(B2dError) as caught, open_evidence(server.url) as file:
        for at in range(0, file.size, 1 << 18):
            file.pread(at, 1 << 18)
    assert time.monotonic() - began < 30
    assert server.url in str(caught.value) or isinstance(caught.value, SourceError)
    return str(caught.value)


def failing(status: int) -> Answer:
    def answer(handler: Handler, start: int, end: int) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def test_a_file_that_is_not_there(serve: Serve) -> None:
    server = serve(unpacked("fresh.vdi"))
    server.answer = failing(404)
    assert "404" in refused(server)
    assert len(server.asked) == 1


def test_a_server_that_is_down_is_asked_again_a_few_times(serve: Serve) -> None:
    server = serve(unpacked("fresh.vdi"))
    server.answer = failing(503)
    assert "503" in refused(server)
    assert len(server.asked) == remote.TRIES


def test_a_server_that_recovers(serve: Serve) -> None:
    server = serve(unpacked("fresh.vdi"))

    def answer(handler: Handler, start: int, end: int) -> None:
        odd = len(server.asked) % 2
        (failing(500) if odd else Handler.give)(handler, start, end)

    server.answer = answer
    with inspect(server.url) as facts:
        assert facts.state == "fresh"


LIES: dict[str, tuple[Answer, str]] = {
    "cut": (lambda handler, start, end: handler.give(start, end, cut=100), "the answer ended|payload"),
    "whole": (lambda handler, start, end: handler.give(start, end, status=200), "whole file"),
    "elsewhere": (
        lambda handler, start, end: handler.give(
            start, end, Content_Range=f"bytes 1-{end}/{handler.server.size}"
        ),  # type: ignore[attr-defined]
        "others were asked for",
    ),
    "no range": (
        lambda handler, start, end: handler.give(start, end, Content_Range="bytes all"),
        "does not say",
    ),
    "huge": (
        lambda handler, start, end: handler.give(
            start, end, Content_Range=f"bytes {start}-{end - 1}/{1 << 60}"
        ),
        "does not say",
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lying_server_is_found_out(lie: str, serve: Serve) -> None:
    server = serve(unpacked("fresh.vdi"))
    server.answer, words = LIES[lie]
    assert re.search(words, refused(server))
    assert len(server.asked) <= remote.TRIES


@pytest.mark.parametrize("what", ["size", "tag"])
def test_a_file_that_changes_under_us(what: str, serve: Serve) -> None:
    server = serve(unpacked("fresh.vdi"))

    def answer(handler: Handler, start: int, end: int) -> None:
        size = server.size + (what == "size" and len(server.asked) > 1)
        tag = '"two"' if what == "tag" and len(server.asked) > 1 else '"one"'
        handler.give(start, end, Content_Range=f"bytes {start}-{end - 1}/{size}", ETag=tag)

    server.answer = answer
    assert "changed while it was read" in refused(server)


def test_a_server_that_falls_silent(serve: Serve) -> None:
    server = serve(unpacked("fresh.vdi"))
    server.answer = lambda handler, start, end: time.sleep(3)
    assert "too slow" in refused(server)


def test_a_server_that_drips(serve: Serve) -> None:
    server = serve(unpacked("fresh.vdi"))

    def answer(handler: Handler, start: int, end: int) -> None:
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes {start}-{end - 1}/{server.size}")
        handler.send_header("Content-Length", str(end - start))
        handler.end_headers()
        for _ in range(40):
            handler.wfile.write(b"x")
            time.sleep(0.1)

    server.answer = answer
    assert "too slow" in refused(server)


def test_nobody_is_there() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/disk.vdi"
        done = invoke("show", url)
    assert done.returncode == 2
    assert done.stderr.count(b"\n") == 1


# --- servers of others --------------------------------------------------------------------------------------


@needs("nginx")
def test_nginx(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shutil.copyfile(unpacked("key-replaced.vdi"), tmp_path / "disk.vdi")
    tmp_path.chmod(0o755)
    conf = tmp_path / "nginx.conf"
    names = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"{name}_temp_path {tmp_path}/{name};" for name in names)
    user = "user root;" if os.getuid() == 0 else ""
    conf.write_text(
        f"{user} daemon off; pid {tmp_path}/pid; error_log {tmp_path}/log; events {{}}"
        f"http {{ access_log off; {temporary} server {{ listen 127.0.0.1:{port}; root {tmp_path}; }} }}"
    )
    program = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin") or "nginx"
    process = subprocess.Popen([program, "-c", str(conf), "-p", str(tmp_path)], stderr=subprocess.PIPE)
    try:
        url = f"http://127.0.0.1:{port}/disk.vdi"
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        here, there = (invoke("keys", one) for one in (unpacked("key-replaced.vdi"), url))
        assert here.stdout == there.stdout
        with open_evidence(url) as file:
            file.pread(0, 10)
            with (tmp_path / "disk.vdi").open("ab") as disk:
                disk.write(b"more")
            with pytest.raises(SourceError, match="changed while it was read"):
                file.pread(file.size - 4096, 4096)
    finally:
        process.terminate()
        process.communicate(timeout=30)


@pytest.mark.slow
def test_s3(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("s3fs", reason="s3fs is not installed")
    server_of = pytest.importorskip("moto.server", reason="moto's server is not installed")
    boto3 = pytest.importorskip("boto3", reason="boto3 is not installed")
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
        monkeypatch.setenv(f"AWS_{name}", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    server = server_of.ThreadedMotoServer(port=0, ip_address="127.0.0.1", verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        monkeypatch.setattr(remote, "PATIENCE", 30.0)
        client = boto3.client("s3")
        client.create_bucket(Bucket="disks")
        client.upload_file(str(unpacked("key-replaced.vdi")), "disks", "disk.vdi")
        here, there = (invoke("keys", one) for one in (unpacked("key-replaced.vdi"), "s3://disks/disk.vdi"))
        assert here.stdout == there.stdout
        monkeypatch.setattr(remote, "LOOKED_AGAIN", 0.0)
        with open_evidence("s3://disks/disk.vdi") as file:
            client.put_object(Bucket="disks", Key="disk.vdi", Body=bytes(file.size))
            with pytest.raises(SourceError, match="changed while it was read"):
                file.pread(1 << 20, 4096)
        assert invoke("show", "s3://disks/gone.vdi").returncode == 2
    finally:
        server.stop()
