"""The stages behind the login: what docker-machine's provisioner does, and what outlives a boot."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from b2dinspect.filesystems.ext4 import Ext4
from b2dinspect.identity import Identities
from b2dinspect.inspection.walk import inspect
from b2dinspect.provisioning import commands
from b2dinspect.provisioning.client import Credentials, ask
from b2dinspect.provisioning.events import Serving, Started
from b2dinspect.provisioning.host.drivers import DRIVERS
from b2dinspect.provisioning.pipeline import boot_image, provision
from b2dinspect.provisioning.simulated.root import Root
from tests.oracles import needs
from tests.provisioning.plans import Story, plan, tell

DOOR = [
    "provisioner",
    "hostname",
    "host-certificates",
    "server-certificate",
    "daemon-stop",
    "upload",
    "profile",
    "daemon-start",
    "connect",
]


def files_of(disk: str) -> dict[str, bytes]:
    """Return the files of /var/lib/boot2docker but userdata.tar."""
    with inspect(disk) as facts:
        assert facts.data is not None
        with Ext4(facts.data.volume.source) as files:
            folder = files.find(b"/var/lib/boot2docker")
            found = {one.name.decode(): one for one in files.list(folder) if one.type == "file"}
            found["etc/hostname"] = files.find(b"/var/lib/boot2docker/etc/hostname")
            assert {one.node.uid for one in found.values()} == {0}
            assert {one.node.mode & 0o777 for one in found.values()} == {0o644}
            del found["userdata.tar"]
            return {name: files.content(one).pread(0, 1 << 16) for name, one in found.items()}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Story, Path]:
    """A machine that was provisioned to the end, with pinned identities."""
    store = tmp_path_factory.mktemp("store")
    ids = Identities.from_seed("door")
    driver = DRIVERS["virtualbox"]
    return tell(provision(plan(store / "machines", driver=driver, docker=True, ids=ids))), store


@needs("ssh")
@pytest.mark.slow
def test_a_docker_client_comes_in_twice_and_strangers_never(made: tuple[Story, Path]) -> None:
    story, _ = made
    names = [event.id for event in story.events if isinstance(event, Started)]
    assert names[-len(DOOR) - 1 :] == [*DOOR, "second-boot"]
    assert story.failed == []
    assert story.end.logged_in
    assert sum(text.startswith("the daemon answers: version") for text in story.texts) == 2
    for who in ("without a certificate", "of another authority"):
        assert sum(f"a client {who} is refused" in text for text in story.texts) == 2
    assert sum("an expired client is refused" in text for text in story.texts) == 2
    for stage in ("hostname", "upload", "profile"):
        assert story.done[stage].writes
    assert story.done["connect"].writes == story.done["second-boot"].writes == ()


@needs("ssh")
@pytest.mark.slow
def test_what_lies_on_the_disk_is_what_lies_on_the_host(made: tuple[Story, Path]) -> None:
    story, store = made
    folder = store / "machines" / "default"
    on_disk = files_of(story.end.disk)
    assert set(on_disk) == {"ca.pem", "server.pem", "server-key.pem", "profile", "etc/hostname"}
    for name in ("ca.pem", "server.pem", "server-key.pem"):
        assert on_disk[name] == (folder / name).read_bytes()
    assert on_disk["etc/hostname"] == b"default\n"
    for name in ("ca.pem", "cert.pem", "key.pem"):
        assert (folder / name).read_bytes() == (store / "certs" / name).read_bytes()
    options = json.loads((folder / "config.json").read_bytes())["HostOptions"]["AuthOptions"]
    assert options["CaPrivateKeyPath"] == str(store / "certs" / "ca-key.pem")
    assert options["ServerCertPath"] == str(folder / "server.pem")


@pytest.fixture
def again(made: tuple[Story, Path], tmp_path: Path) -> tuple[Path, Path]:
    """A copy of that machine, and its disk."""
    folder = Path(shutil.copytree(made[1] / "machines" / "default", tmp_path / "default"))
    return folder, folder / Path(made[0].end.disk).name


@pytest.mark.slow
def test_a_machine_that_is_there_is_booted_to_its_daemon(again: tuple[Path, Path]) -> None:
    folder, disk = again
    ids = Identities.from_seed("door")
    events = boot_image(plan(folder.parent, docker=True, serves=True, ids=ids), disk, folder)
    serving = next(event for event in events if isinstance(event, Serving))
    port = serving.docker[2].removeprefix("tcp://localhost:")
    assert serving.docker[-2:] == (str(folder / "key.pem"), "version")
    assert ask(int(port), Credentials.of(folder), clock=float(ids.time), host="localhost").works
    assert tell(events).end.has_daemon


@pytest.mark.slow
def test_no_client_comes_in_under_another_address(again: tuple[Path, Path]) -> None:
    folder, disk = again
    config = folder / "config.json"
    config.write_text(config.read_text().replace("127.0.0.1", "192.168.99.100"))
    ids = Identities.from_seed("door")
    story = tell(boot_image(plan(folder.parent, docker=True, ids=ids), disk, folder))
    assert (story.failed, story.end.logged_in, story.end.has_daemon) == (["connect"], False, False)
    assert "192.168.99.100" in story.done["connect"].reason


@needs("ssh", "e2fsck", "qemu-img")
@pytest.mark.slow
def test_the_filesystem_stays_sound(made: tuple[Story, Path], tmp_path: Path) -> None:
    from tests.oracles import run

    story, _ = made
    raw = tmp_path / "raw"
    run("qemu-img", "convert", "-O", "raw", story.end.disk, raw)
    with inspect(str(raw)) as facts:
        assert facts.data is not None
        offset = facts.data.volume.partition.offset
    run("e2fsck", "-fn", f"{raw}?offset={offset}")


def test_only_the_provisioners_commands_are_understood() -> None:
    pem = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    assert commands.parse(commands.put_pem("ca.pem", pem)) == commands.Put("/var/lib/boot2docker/ca.pem", pem)
    for line in (
        "sudo reboot",
        "exit 0; rm -rf /",
        commands.STOP + " ",
        commands.put_pem("ca.pem", pem).replace("ca.pem", "userdata.tar"),
        commands.put_pem("ca.pem", pem).replace("ca.pem", "../ca.pem"),
        commands.put_pem("ca.pem", b"'; reboot; '"),
        commands.put_profile(b"A=$(reboot)"),
        commands.put_profile(b"A=`reboot`"),
        commands.put_profile(b'A="; reboot; "'),
        commands.set_hostname("a;reboot"),
        commands.put_pem("ca.pem", b"A" * (1 << 20)),
    ):
        assert commands.parse(line) is None, line


def test_a_shell_reads_the_commands_alike(tmp_path: Path) -> None:
    """What our grammar takes out of a command is what a shell would write."""
    pem, profile = b"-----BEGIN X-----\nA+/=\n-----END X-----\n", b"\nA='\n--label a=b\n'\nB=c\n\n"
    for line in (
        commands.put_pem("ca.pem", pem),
        commands.put_profile(profile),
        commands.set_hostname("box"),
    ):
        wanted = commands.parse(line)
        assert isinstance(wanted, commands.Put)
        for word, path in (("sudo /usr/bin/sethostname", "true"), ("sudo ", "")):
            line = line.replace(word, path)
        home = tmp_path / "home"
        (home / "etc").mkdir(parents=True, exist_ok=True)
        subprocess.run(["sh", "-c", line.replace(commands.HOME, str(home))], check=True, capture_output=True)
        assert (home / wanted.path.removeprefix(f"{commands.HOME}/")).read_bytes() == wanted.content


def test_without_a_disk_nothing_is_written(tmp_path: Path) -> None:
    root = Root(tmp_path, Identities(), "box", None)
    answer = root.run(commands.set_hostname("a"))
    assert answer is not None and answer.status == 1
    assert root.run("uname -a") is None
    root.run(commands.START)
    assert (root.daemon_port, root.words) == (0, "there is no profile")
