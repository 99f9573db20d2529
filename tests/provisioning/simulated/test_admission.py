"""One table of home directories: OpenSSH's sshd, the simulated one and inspection let in the same keys.

Each row is a userdata.tar with a key of its own. GNU tar unpacks all of them as root, chown gives them to an
unprivileged user, and one real sshd reads every file, so that a row costs one login. That user has no shell:
a login that is let in ends with another status than ssh's own 255.
"""

from __future__ import annotations

import io
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from b2dinspect.guests import PROFILES, USERDATA_PATHS
from b2dinspect.inspection.facts import Choice, Userdata
from b2dinspect.inspection.login import judge
from b2dinspect.provisioning.host.host import write_new
from b2dinspect.provisioning.keypair import KeyPair, make_key
from b2dinspect.provisioning.login import log_in
from b2dinspect.provisioning.simulated.home import unpack_home
from b2dinspect.provisioning.simulated.sshd import SimulatedSshd
from b2dinspect.source import MemorySource
from b2dinspect.userdata.admission import Visit
from b2dinspect.userdata.authorized_keys import parse
from b2dinspect.userdata.tarball import read_tar
from tests.oracles import PATH, needs, run

NOBODY = 65534
"""The uid of ``nobody``, who stands for the guest's user, and its group's number."""
LOOPBACK = "127.0.0.1"
USER = -1
"""Stands in the table for the uid of the guest's user."""
GUESTS = {one.name: one for one in PROFILES}


class Row(NamedTuple):
    """A home directory, with KEY and OTHER for public keys (type and base64), and times.

    Attributes:
        lets_in: What is expected, so that nobody is content when all three are wrong.
        file: Content of authorized_keys.
        second: Content of authorized_keys2; None for no such file.
        mode: Of the file; of its entry, to be exact.
        folder: Mode of ``.ssh``; None for no such entry.
        home: Mode of ``./``; None for no such entry.
        uid: Who owns all of it in the tar.
        guest: Who unpacks it.
    """

    lets_in: bool
    file: str = "KEY\n"
    second: str | None = None
    mode: int = 0o644
    folder: int | None = 0o700
    home: int | None = None
    uid: int = 0
    guest: str = "autoformat"


def option(text: str, lets_in: bool) -> Row:
    return Row(lets_in, f"{text} KEY comment\n")


TABLE = {
    "plain": Row(True),
    "no newline at the end": Row(True, "KEY"),
    "comment": Row(True, "KEY docker@default\n"),
    "CRLF": Row(True, "KEY\r\n"),
    "CRLF behind a comment": Row(True, "KEY me\r\n# end\r\n"),
    "CR alone": Row(True, "KEY x\rOTHER\r"),
    "CR alone, before the key": Row(False, "OTHER x\rKEY\r"),
    "CRLF and options": Row(True, "no-pty KEY\r\n"),
    "byte order mark": Row(False, "\ufeffKEY\n"),
    "blank before it": Row(True, " \tKEY\n"),
    "commented out": Row(False, "#KEY\n"),
    "behind a broken line": Row(True, "ssh-ed25519 AAAA\nKEY\n"),
    "broken into two lines": Row(False, "KEY".replace("KEY", "SPLIT") + "\n"),
    "second of two": Row(True, "OTHER\nKEY\n"),
    "another's": Row(False, "OTHER\n"),
    "empty": Row(False, ""),
    "NUL before it": Row(False, "\0KEY\n"),
    "NUL behind it": Row(True, "KEY\0x\n"),
    "in the second file": Row(True, "OTHER\n", "KEY\n"),
    "long comment": Row(True, "KEY " + "x" * 9000 + "\n"),
    "very long comment": Row(True, "KEY " + "x" * 300_000 + "\n"),
    "long command": option(f'command="{"x" * 20_000}"', True),
    "behind a long line": Row(True, "x" * 20_000 + "\nKEY\n"),
    "command": option('command="uptime"', True),
    "command with quotes": option(r'command="echo \"a, b\""', True),
    "command twice": option('command="a",command="b"', False),
    "restrict": option("restrict", True),
    "restrict,pty": option("restrict,pty", True),
    "case of options": option("No-PTY,RESTRICT", True),
    "no-everything": option(
        "no-pty,no-agent-forwarding,no-port-forwarding,no-X11-forwarding,no-user-rc", True
    ),
    "environment": option('environment="A=b"', True),
    "environment without a name": option('environment="=b"', False),
    "tunnel": option('tunnel="0"', True),
    "tunnel any": option('tunnel="any"', True),
    "tunnel of words": option('tunnel="some"', False),
    "permitopen": option('permitopen="localhost:80"', True),
    "permitopen without a port": option('permitopen="localhost"', False),
    "permitlisten": option('permitlisten="8080"', True),
    "verify-required": option("verify-required", True),
    "unknown option": option("no-such-option", False),
    "unknown option in the middle": option('no-pty,colour="red",restrict', False),
    "blank between options": option("no-pty, restrict", False),
    "open quote": option('command="uptime', False),
    "empty options": option(",,no-pty", True),
    "principals alone": option('principals="docker"', False),
    "cert-authority": option("cert-authority", False),
    "cert-authority beside the key": Row(True, "cert-authority KEY\nKEY\n"),
    "a certificate": Row(False, "CERT\n"),
    "expired in 2020": option('expiry-time="20200101"', False),
    "expired, with a Z": option('expiry-time="202001011200Z"', False),
    "expires in 2099": option('expiry-time="20990101"', True),
    "expires in 2099, to the second": option('expiry-time="20990101123000"', True),
    "expires soon": option('expiry-time="LATER"', True),
    "expired just now": option('expiry-time="BEFORE"', False),
    "the earliest expiry counts": option('expiry-time="20990101",expiry-time="20200101"', False),
    "no time": option('expiry-time="soon"', False),
    "31 February": option('expiry-time="20990231"', True),
    "expired, then without": Row(True, 'expiry-time="20200101" KEY\nKEY\n'),
    "from here": option('from="127.0.0.1"', True),
    "from elsewhere": option('from="192.168.99.1"', False),
    "from a network": option('from="127.0.0.0/8"', True),
    "from another network": option('from="10.0.0.0/8"', False),
    "from a network with bits of a host": option('from="127.0.0.1/8,127.0.0.1"', False),
    "from a mask too long": option('from="127.0.0.1/33,127.0.0.1"', False),
    "from a pattern": option('from="127.0.*"', True),
    "from one character": option('from="127.0.0.?"', True),
    "from all but here": option('from="*,!127.0.0.1"', False),
    "from all but elsewhere": option('from="!10.0.0.1,*"', True),
    "from a name": option('from="localhost"', False),
    "from a short address": option('from="127.1"', True),
    "from IPv6": option('from="::1"', False),
    "from mapped IPv6": option('from="::ffff:127.0.0.1"', False),
    "from with an empty item": option('from="127.0.0.1,"', False),
    "from with a blank": option('from="10.0.0.1, 127.0.0.1"', False),
    "from with a sole !": option('from="127.0.0.1,!"', False),
    "from nothing": option('from=""', False),
    "from twice": option('from="*",from="*"', False),
    "from and expiry, both good": option('from="127.*",expiry-time="20990101"', True),
    "from good, expired": option('from="127.*",expiry-time="20200101"', False),
    "file 0600": Row(True, mode=0o600),
    "file 0666": Row(False, mode=0o666),
    "file 0664": Row(False, mode=0o664),
    "file 0646": Row(False, mode=0o646),
    "file 0444": Row(True, mode=0o444),
    "file 0000": Row(False, mode=0o000),
    "file 0200": Row(False, mode=0o200),
    "file 4755": Row(True, mode=0o4755),
    "folder 0777": Row(False, folder=0o777),
    "folder 0775": Row(False, folder=0o775),
    "folder 0755": Row(True, folder=0o755),
    "folder 0600": Row(False, folder=0o600),
    "folder 0500": Row(True, folder=0o500),
    "no folder": Row(True, folder=None),
    "home 0777": Row(False, home=0o777),
    "home 0775": Row(False, home=0o775),
    "home 0755": Row(True, home=0o755),
    "home 0600": Row(False, home=0o600),
    "second file open, first good": Row(True, second="OTHER\n"),
    "another's in the tar": Row(True, uid=4242),
    "minikube, plain": Row(True, guest="minikube"),
    "minikube, root's home": Row(True, home=0o755, guest="minikube"),
    "minikube, root's home closed": Row(False, home=0o700, guest="minikube"),
    "minikube, another's home": Row(False, home=0o755, uid=4242, guest="minikube"),
    "minikube, the user's home": Row(True, home=0o700, uid=USER, guest="minikube"),
    "minikube, folder 0777": Row(False, folder=0o777, guest="minikube"),
}


class Bench(NamedTuple):
    """The table, made: one key pair and the key files of each row, and a folder to work in."""

    folder: Path
    keys: list[KeyPair]
    contents: list[dict[str, bytes]]
    now: int


def public(pair: KeyPair) -> str:
    return " ".join(pair.public.decode().split()[:2])


def build_tar(row: Row, content: dict[str, bytes], user: int) -> bytes:
    uid = user if row.uid == USER else row.uid
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, mode in (("./", row.home), (".ssh", row.folder)):
            if mode is not None:
                entry = tarfile.TarInfo(name)
                entry.type, entry.mode, entry.uid, entry.gid = tarfile.DIRTYPE, mode, uid, uid
                tar.addfile(entry)
        for name, data in content.items():
            entry = tarfile.TarInfo(f".ssh/{name}")
            entry.size, entry.mode, entry.uid, entry.gid = len(data), row.mode, uid, uid
            tar.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def sign(folder: Path, name: str, who: str, *options: str) -> KeyPair:
    """Let a new authority sign the public key ``name.pub``, with ssh-keygen; ssh shows what that makes."""
    authority = make_key("ed25519")
    write_new(folder / f"{name}-ca", authority.private, 0o600)
    run(
        "ssh-keygen",
        "-q",
        "-s",
        folder / f"{name}-ca",
        "-I",
        "x",
        "-n",
        who,
        *options,
        folder / f"{name}.pub",
    )
    return authority


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = tmp_path_factory.mktemp("admission")
    now = int(time.time())
    stamp = {"LATER": now + 3600, "BEFORE": now - 60}
    other = make_key("ed25519")
    keys, contents = [], []
    for number, row in enumerate(TABLE.values()):
        pair = make_key("ed25519")
        keys.append(pair)
        write_new(folder / f"{number}", pair.private, 0o600)
        words = {
            "OTHER": public(other),
            "KEY": public(pair),
            "SPLIT": f"{public(pair)[:40]}\n{public(pair)[40:]}",
        }
        if "CERT" in row.file:
            (folder / f"{number}.pub").write_bytes(pair.public)
            sign(folder, f"{number}", "nobody")
            words["CERT"] = (folder / f"{number}-cert.pub").read_text().strip()
            (folder / f"{number}-cert.pub").unlink()  # or ssh would show it
        for word, at in stamp.items():
            words[word] = time.strftime("%Y%m%d%H%M%SZ", time.gmtime(at))
        content = {}
        for file, text in (("authorized_keys", row.file), ("authorized_keys2", row.second)):
            if text is not None:
                for word, meaning in words.items():
                    text = text.replace(word, meaning)
                content[file] = text.encode()
        contents.append(content)
    return Bench(folder, keys, contents, now)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


class Real(NamedTuple):
    """A real sshd that reads many key files of ``nobody``."""

    port: int

    def lets_in(self, key: Path, *options: str) -> bool:
        words = ["BatchMode=yes", "IdentitiesOnly=yes", "IdentityAgent=none", "StrictHostKeyChecking=no"]
        words += [f"UserKnownHostsFile={os.devnull}", "LogLevel=ERROR", *options]
        settings = [part for word in words for part in ("-o", word)]
        where = ["-i", str(key), "-p", str(self.port), f"nobody@{LOOPBACK}", "true"]
        ran = subprocess.run(
            ["ssh", "-F", os.devnull, *settings, *where],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert ran.returncode != 255 or b"Permission denied" in ran.stderr, ran.stderr
        return ran.returncode != 255


def serve(folder: Path, files: list[Path]) -> Generator[Real, None, None]:
    """Run sshd with these key files until the generator is closed."""
    Path("/run/sshd").mkdir(exist_ok=True)  # where it separates privileges
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "host")
    port = free_port()
    listed = " ".join(map(str, files))
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress {LOOPBACK}\nHostKey {folder}/host\nPidFile none\nUsePAM no\nUseDNS no\n"
        f"PasswordAuthentication no\nKbdInteractiveAuthentication no\nStrictModes yes\n"
        f"MaxStartups 100\nAuthorizedKeysFile {listed}\n"
    )
    program = shutil.which("sshd", path=PATH)
    with subprocess.Popen(
        [str(program), "-D", "-e", "-f", folder / "sshd_config"],
        stderr=subprocess.DEVNULL,
        env={**os.environ, "TZ": "UTC"},
    ) as sshd:
        try:
            for _ in range(200):
                with socket.socket() as probe:
                    if probe.connect_ex((LOOPBACK, port)) == 0:
                        break
                time.sleep(0.05)
            yield Real(port)
        finally:
            sshd.terminate()


@pytest.fixture(scope="module")
def root_folder() -> Iterator[Path]:
    """A folder that nobody but root may write to, up to the root: sshd looks at all of them."""
    with tempfile.TemporaryDirectory(prefix="b2d-", dir="/run") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="module")
def real(bench: Bench, root_folder: Path) -> Iterator[Real]:
    files = []
    for number, row in enumerate(TABLE.values()):
        home = root_folder / f"{number}"
        home.mkdir()
        run("chown", f"{NOBODY}:{NOBODY}", home)
        run("tar", "xf", "-", "-C", home, input=build_tar(row, bench.contents[number], NOBODY))
        run("chown", "-R", f"{NOBODY}:{NOBODY}", home / os.fsdecode(GUESTS[row.guest].owns))
        files += [home / ".ssh" / "authorized_keys", home / ".ssh" / "authorized_keys2"]
    yield from serve(root_folder, files)


needs_root = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0,
    reason="needs root: files of two owners, and one sshd for both",
)


@needs("sshd", "ssh", "ssh-keygen", "tar")
@needs_root
@pytest.mark.slow
def test_openssh(bench: Bench, real: Real) -> None:
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda number: real.lets_in(bench.folder / f"{number}"), range(len(TABLE))))
    assert dict(zip(TABLE, answers, strict=True)) == {name: row.lets_in for name, row in TABLE.items()}


@needs("ssh", "ssh-keygen")
@pytest.mark.slow
def test_the_simulated_sshd(bench: Bench, tmp_path: Path) -> None:
    def lets_in(number: int) -> bool:
        row, work = [*TABLE.values()][number], tmp_path / f"{number}"
        home = work / "home"
        home.mkdir(parents=True)
        unpacked = unpack_home(build_tar(row, bench.contents[number], NOBODY), home)
        user, visit = ("nobody", "nogroup", NOBODY, NOBODY), Visit(bench.now, LOOPBACK)
        owns = GUESTS[row.guest].owns
        guest = SimulatedSshd(home, user, "default", entries=unpacked.entries, owns=owns, visit=visit)
        try:
            return log_in(guest, user[0], bench.folder / f"{number}", work).works
        finally:
            guest.stop()

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lets_in, range(len(TABLE))))
    assert dict(zip(TABLE, answers, strict=True)) == {name: row.lets_in for name, row in TABLE.items()}


CERTIFICATES = {
    "signed": ("cert-authority CA", "nobody", (), True),
    "signed for several": ("cert-authority CA", "root,nobody", (), True),
    "signed for another user": ("cert-authority CA", "root", (), False),
    "signed by somebody who is no authority": ("CA", "nobody", (), False),
    "principals, one of them": ('cert-authority,principals="team,crew" CA', "crew", (), True),
    "principals, none of them": ('cert-authority,principals="team" CA', "nobody", (), False),
    "a certificate that has expired": ("cert-authority CA", "nobody", ("-V", "20200101:20200102"), False),
    "an authority that has expired": ('cert-authority,expiry-time="20200101" CA', "nobody", (), False),
    "an authority from here": ('cert-authority,from="127.*" CA', "nobody", (), True),
    "an authority from elsewhere": ('cert-authority,from="10.0.0.1" CA', "nobody", (), False),
    "a certificate from elsewhere": ("cert-authority CA", "nobody", ("-O", "source-address=10.0.0.1"), False),
    "a certificate with a command": ("cert-authority CA", "nobody", ("-O", "force-command=true"), True),
    "a host's certificate": ("cert-authority CA", "nobody", ("-h",), False),
}
"""Options of the line, principals of the certificate, options of ssh-keygen, and whether it lets in."""


@needs("sshd", "ssh", "ssh-keygen")
@needs_root
@pytest.mark.slow
def test_certificates(root_folder: Path, tmp_path: Path) -> None:
    folder = root_folder / "certificates"
    folder.mkdir()
    files, simulated = [], {}
    for number, (name, (line, who, options, _)) in enumerate(CERTIFICATES.items()):
        pair, key, home = make_key("ed25519"), tmp_path / f"{number}", tmp_path / f"home-{number}"
        write_new(key, pair.private, 0o600)
        key.with_suffix(".pub").write_bytes(pair.public)
        text = line.replace("CA", public(sign(tmp_path, key.name, who, *options))) + "\n"
        files.append(folder / f"keys-{number}")
        files[-1].write_text(text)
        (home / ".ssh").mkdir(parents=True)
        (home / ".ssh" / "authorized_keys").write_text(text)
        visit = Visit(int(time.time()), LOOPBACK)
        guest = SimulatedSshd(home, ("nobody", "nogroup", NOBODY, NOBODY), "default", visit=visit)
        simulated[name] = log_in(guest, "nobody", key, tmp_path).works
        guest.stop()
    serving = serve(folder, files)
    real = next(serving)
    answers = {name: real.lets_in(tmp_path / f"{number}") for number, name in enumerate(CERTIFICATES)}
    serving.close()
    expected = {name: row[-1] for name, row in CERTIFICATES.items()}
    assert answers == expected
    assert simulated == expected


@needs("ssh-keygen")
@pytest.mark.slow
def test_inspection(bench: Bench) -> None:
    answers = {}
    for number, (name, row) in enumerate(TABLE.items()):
        tar = build_tar(row, bench.contents[number], GUESTS[row.guest].owner[2])
        source = MemorySource(tar)
        item = Userdata("data", USERDATA_PATHS[0].decode(), source, None, 0, 0, len(tar), read_tar(source))
        choice = Choice(row.guest, "mount", None, keeps_userdata=False, reason="")
        keys = judge([item], [choice], row.guest, Visit(bench.now, LOOPBACK))
        identity = next(line.key.identity for line in parse(bench.keys[number].public) if line.key)
        answers[name] = any(
            key.in_force and key.line.key.identity == identity for key in keys if key.line.key
        )
        assert all(bool(key.why_not) != key.in_force for key in keys)
    assert answers == {name: row.lets_in for name, row in TABLE.items()}
