"""The simulated sshd, asked by a real ssh client."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from b2dinspect.provisioning.host.host import write_new
from b2dinspect.provisioning.keypair import KeyPair, make_key
from b2dinspect.provisioning.login import log_in, plain_key, ssh_command
from b2dinspect.provisioning.simulated.home import KEY_FILES
from b2dinspect.provisioning.simulated.sshd import GuestCommands, SimulatedSshd
from tests.disks import OTHER_PUB
from tests.oracles import PATIENCE, needs

pytestmark = needs("ssh")
USER = ("docker", "staff", 1000, 50)


@pytest.fixture(scope="module")
def pair() -> KeyPair:
    return make_key("ed25519")


@pytest.fixture
def home(tmp_path: Path, pair: KeyPair) -> Path:
    folder = tmp_path / "home"
    (folder / ".ssh").mkdir(parents=True)
    (folder / KEY_FILES[0]).write_bytes(pair.public)
    return folder


@pytest.fixture
def guest(home: Path) -> Iterator[SimulatedSshd]:
    server = SimulatedSshd(home, USER, "default")
    yield server
    server.stop()


@pytest.fixture
def key(tmp_path: Path, pair: KeyPair) -> Path:
    write_new(tmp_path / "id", pair.private, 0o600)
    return tmp_path / "id"


def test_the_right_key_gets_in(guest: SimulatedSshd, key: Path, tmp_path: Path) -> None:
    assert log_in(guest, "docker", key, tmp_path).output == "docker"
    assert log_in(guest, "docker", key, tmp_path, "hostname").output == "default"
    assert log_in(guest, "docker", key, tmp_path, "id").output == "uid=1000(docker) gid=50(staff)"


@pytest.mark.parametrize("user", ["root", "tc", "DOCKER"])
def test_another_user_does_not(user: str, guest: SimulatedSshd, key: Path, tmp_path: Path) -> None:
    attempt = log_in(guest, user, key, tmp_path)
    assert not attempt.works
    assert "Permission denied (publickey)" in attempt.reason


def test_keys_are_read_anew_at_each_login(
    guest: SimulatedSshd, home: Path, key: Path, tmp_path: Path, pair: KeyPair
) -> None:
    (home / KEY_FILES[0]).write_bytes(OTHER_PUB)
    assert not log_in(guest, "docker", key, tmp_path).works
    (home / KEY_FILES[1]).write_bytes(pair.public)
    assert log_in(guest, "docker", key, tmp_path).works
    (home / KEY_FILES[1]).unlink()
    (home / KEY_FILES[0]).unlink()
    assert not log_in(guest, "docker", key, tmp_path).works


@pytest.mark.parametrize(
    ("before", "works"),
    [
        (b"# a comment\n\nssh-rsa broken\n", True),
        (b'command="/bin/true" ', True),
        (b"cert-authority ", False),
        (b"#", False),
        (b"ssh-rsa ", False),
    ],
)
def test_lines_count_as_sshd_counts_them(
    before: bytes, works: bool, guest: SimulatedSshd, home: Path, key: Path, tmp_path: Path, pair: KeyPair
) -> None:
    (home / KEY_FILES[0]).write_bytes(before + pair.public)
    assert log_in(guest, "docker", key, tmp_path).works == works


@pytest.mark.parametrize(
    "command", ["touch /tmp/x", "sh -c id", "python3", "whoami; touch x", "$(id)", "../ls"]
)
def test_nothing_is_run_on_this_machine(
    command: str, guest: SimulatedSshd, key: Path, tmp_path: Path
) -> None:
    words = [*ssh_command(guest, "docker", key, tmp_path / "known_hosts"), command]
    log_in(guest, "docker", key, tmp_path)
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    assert done.returncode == 127
    assert b"not in the simulated guest" in done.stderr


@pytest.mark.parametrize(
    "name",
    [
        "100%",
        "%h",
        "%%d%",
        "${HOME}",
        "${NOT_SET}",
        'a "quoted" one',
        "it's",
        "a, b",
        "back\\slash",
        "two\nlines",
    ],
)
def test_ssh_reads_any_path_as_it_is_written(
    name: str, guest: SimulatedSshd, tmp_path: Path, pair: KeyPair
) -> None:
    """The key and known_hosts, in the command that is run and in the one that is shown."""
    folder, work = tmp_path / name, tmp_path / name / "work"
    work.mkdir(parents=True)
    key = folder / "id_rsa"
    write_new(key, pair.private, 0o600)
    attempt = log_in(guest, "docker", key, work)
    assert attempt.works, attempt.reason
    if name not in (
        "two\nlines",
        "${HOME}",
        "${NOT_SET}",
    ):  # the system's folder for temporary files has none
        words = [*ssh_command(guest, "docker", plain_key(key, work), work / "known_hosts"), "whoami"]
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        assert done.stdout == b"docker\n", done.stderr


def test_a_key_is_shown_so_that_ssh_finds_it(guest: SimulatedSshd, tmp_path: Path, pair: KeyPair) -> None:
    work, key = tmp_path / "work", tmp_path / "${HOME}" / "100%"
    work.mkdir()
    key.parent.mkdir()
    write_new(key, pair.private, 0o600)
    log_in(guest, "docker", key, work)
    words = [*ssh_command(guest, "docker", plain_key(key, work), work / "known_hosts"), "whoami"]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    assert done.stdout == b"docker\n", done.stderr


def test_a_session_without_a_command_takes_lines(guest: SimulatedSshd, key: Path, tmp_path: Path) -> None:
    log_in(guest, "docker", key, tmp_path)
    words = ssh_command(guest, "docker", key, tmp_path / "known_hosts")
    done = subprocess.run(words, input=b"whoami\nrm -rf /\nexit\n", capture_output=True, check=False)
    assert done.stdout.startswith(b"This is a simulated guest")
    assert b"$ docker\n$ rm: not in the simulated guest\n$ " in done.stdout
    assert done.returncode == 127


def test_other_ways_in_are_closed(guest: SimulatedSshd, key: Path, tmp_path: Path) -> None:
    log_in(guest, "docker", key, tmp_path)
    words = list(ssh_command(guest, "docker", key, tmp_path / "known_hosts"))
    for extra in (["-s", "sftp"], ["-W", "127.0.0.1:22"]):
        place = -1 if extra[0] == "-W" else len(words)
        command = [*words[:place], *extra, *words[place:]] if extra[0] == "-W" else [*words, *extra]
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=PATIENCE
        )
        assert done.returncode != 0


def test_the_server_listens_on_loopback_only_and_is_gone_after_stop(home: Path) -> None:
    server = SimulatedSshd(home, USER, "default")
    with socket.create_connection(("127.0.0.1", server.port), 5) as connection:
        assert connection.recv(4) == b"SSH-"
    if hasattr(socket, "if_nameindex"):
        address = socket.gethostbyname(socket.gethostname())
        if not address.startswith("127."):
            with pytest.raises(OSError):
                socket.create_connection((address, server.port), 2)
    server.stop()
    server.stop()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port), 2)


def test_files_are_seen_within_the_home_only(home: Path, tmp_path: Path, pair: KeyPair) -> None:
    (tmp_path / "secret").write_text("secret")
    (home / "link").symlink_to(tmp_path / "secret")
    commands = GuestCommands(home, USER, "default")
    public = pair.public.decode()
    for name in (KEY_FILES[0], f"/home/docker/{KEY_FILES[0]}", f"~/{KEY_FILES[0]}"):
        assert commands.run(f"cat {name}") == (0, public)
    assert commands.run("ls -a") == (0, ".ssh\nlink\n")
    assert commands.run("ls") == (0, "link\n")
    for name in ("../secret", "/etc/passwd", "link", "/home/docker/../../secret", "~root/x"):
        status, output = commands.run(f"cat {name}")
        assert (status, "secret\n" in output, "root:" in output) == (1, False, False)
    assert commands.run("") == (0, "")
    assert commands.run("cat 'unclosed")[0] == 2
    assert commands.run("ls -l .ssh")[1].split()[:4] == ["-", "0644", "docker", "staff"]


@pytest.mark.parametrize(
    "request_line", ["cat 'a\0b'", "ls '\0'", "cat " + "x" * 100_000, "ls \udcff", "cat '"]
)
def test_a_strange_request_is_answered(home: Path, request_line: str) -> None:
    status, said = GuestCommands(home, USER, "default").run(request_line)
    assert status
    assert said


def test_an_answer_has_an_end(home: Path) -> None:
    (home / "big").write_bytes(b"x" * (1 << 20))
    status, said = GuestCommands(home, USER, "default").run(f"cat {'big ' * 500}")
    assert (status, len(said)) == (0, 1 << 20)


def test_names_that_are_not_utf_8_are_told(
    guest: SimulatedSshd, home: Path, key: Path, tmp_path: Path
) -> None:
    Path(os.fsdecode(os.fsencode(home) + b"/\xff\xfe")).write_bytes(b"\xff\0")
    attempt = log_in(guest, "docker", key, tmp_path, "ls")
    assert attempt.works, attempt.reason
    assert attempt.output.encode("utf-8", "surrogateescape")[:2] in (b"\xff\xfe", "\ufffd".encode()[:2])
