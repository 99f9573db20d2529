"""The second door: what docker-machine does over that first login, and calls provisioning.

Hostname, certificates, the daemon's profile, and a client that comes in through TLS; three strangers that
must not. Source: libmachine/provision/{boot2docker,utils}.go, libmachine/cert.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

from b2dinspect.identity import Identities
from b2dinspect.machine.config import store_folder
from b2dinspect.newfile import NewFile
from b2dinspect.provisioning import commands
from b2dinspect.provisioning.client import HOST, Credentials, Met, ask, docker
from b2dinspect.provisioning.events import Event, Gave, Took
from b2dinspect.provisioning.host.certificates import (
    AUTHORITY,
    CERTIFICATES,
    COPIED,
    PRIVATE_MODE,
    PUBLIC_MODE,
    SERVER,
    Issued,
    Maker,
    shared,
    write_pair,
)
from b2dinspect.provisioning.host.host import write_new
from b2dinspect.provisioning.login import machine_key
from b2dinspect.provisioning.programs import find_program, need_program
from b2dinspect.provisioning.session import Ran, Session
from b2dinspect.provisioning.stages import SkipStage, Stage, StageFailed, State, Step
from b2dinspect.userdata.certificate import Certificate, day, read_certificates
from b2dinspect.userdata.daemon_profile import LABEL, build_profile

STORAGE = "overlay2"
"""docker-machine's choice since 0.16.0; aufs before."""
DAY = 24 * 60 * 60
START_LIMIT = 240.0
"""Seconds for a daemon to start in an emulated guest."""
RUN_LIMIT = 180.0
"""Seconds for each thing that a real daemon there is asked to do."""


def clock_of(ids: Identities) -> float | None:
    """Return the clock by which dates are judged: pinned with the identities, or None for the system's."""
    return float(ids.time) if ids.is_pinned else None


def _session(state: State) -> Session:
    if state.session is None:
        raise SkipStage("no ssh session")
    return state.session


def _said(state: State, command: str, seconds: float = 60.0) -> Ran:
    """Run a command of the provisioner's.

    Raises:
        StageFailed: It ended with another status than 0.
    """
    ran = _session(state).run(command, seconds)
    if ran.status:
        raise StageFailed(f"status {ran.status}: {(ran.output.splitlines() or ['it says nothing'])[-1]}")
    return ran


def _folder(state: State) -> Path:
    if state.folder is None:
        raise SkipStage("no machine directory")
    return state.folder


def _store(state: State) -> Path:
    return store_folder(_folder(state).absolute())


def _hosts(state: State) -> tuple[str, ...]:
    return (HOST, "localhost")


def _open(state: State) -> Step:
    if state.guest is None or not state.logged_in:
        raise SkipStage("nobody can log in")
    key = machine_key(state)
    session = Session(state.guest, state.plan.profile.owner[0], key)
    state.cleanup.callback(session.close)
    state = state._replace(session=session)
    _said(state, "exit 0")
    release = _said(state, commands.OS_RELEASE).output
    names = dict(line.partition("=")[::2] for line in release.splitlines())
    yield Took(f"/etc/os-release: {names.get('PRETTY_NAME', names.get('ID', 'nothing')).strip(chr(34))}")
    yield Gave("the session of the provisioner: all that follows goes through it")
    return state


def _hostname(state: State) -> Step:
    name = state.plan.name
    _said(state, commands.set_hostname(name))
    yield Gave(f"{commands.HOME}/etc/hostname: {name}")
    return state


def _shared(state: State) -> Step:
    maker = Maker(state.plan.ids)
    store = _store(state)
    found = shared(store, maker)
    if state.plan.ids.is_pinned and found.made:
        yield Took("keys for practice, which everybody has: identities are pinned, so are these")
    for name, issued in ((AUTHORITY[0], found.authority), ("cert.pem", found.client)):
        word = "made" if name in found.made else "there already"
        yield Gave(f"{store / CERTIFICATES / name}: {word}, {_shown(issued)}")
    return state


def _server(state: State) -> Step:
    folder = _folder(state)
    store = _store(state)
    found = shared(store, Maker(state.plan.ids))
    user = read_certificates(found.authority.certificate)[0].subject.removeprefix("O=")
    hosts = _hosts(state)
    issued = Maker(state.plan.ids, user).server(found.authority, state.plan.name, hosts)
    yield Took(f"{AUTHORITY[1]} of the store, and the names {', '.join(hosts)}")
    copies = (found.authority.certificate, found.client.certificate, found.client.key)
    for name, data in zip(COPIED, copies, strict=True):
        write_new(folder / name, data, PRIVATE_MODE if name == "key.pem" else PUBLIC_MODE)
    write_pair(folder, SERVER, issued)
    _tell_config(folder, _options(state))
    yield Gave(f"{SERVER[0]}: {_shown(issued)}")
    for name in (*COPIED, *SERVER):
        yield Gave(f"{PRIVATE_MODE if name in ('key.pem', SERVER[1]) else PUBLIC_MODE:04o} {name}")
    return state


def _shown(issued: Issued) -> str:
    certificate: Certificate = read_certificates(issued.certificate)[0]
    names = f", for {', '.join(certificate.names)}" if certificate.names else ""
    dates = f"{day(certificate.begins)} to {certificate.until}"
    return f"{certificate.subject}, {certificate.kind}, {dates}{names}"


def _options(state: State) -> dict[str, Any]:
    """Return HostOptions as libmachine writes them, with the absolute paths of certificates."""
    folder = _folder(state).absolute()
    certs = _store(state) / CERTIFICATES
    return {
        "Driver": "",
        "Memory": 0,
        "Disk": 0,
        "EngineOptions": {
            "ArbitraryFlags": [],
            "Env": [],
            "InsecureRegistry": [],
            "Labels": [],
            "StorageDriver": STORAGE,
            "TlsVerify": True,
            "RegistryMirror": [],
        },
        "AuthOptions": {
            "CertDir": str(certs),
            "CaCertPath": str(certs / AUTHORITY[0]),
            "CaPrivateKeyPath": str(certs / AUTHORITY[1]),
            "CaCertRemotePath": "",
            "ServerCertPath": str(folder / SERVER[0]),
            "ServerKeyPath": str(folder / SERVER[1]),
            "ClientKeyPath": str(certs / "key.pem"),
            "ServerCertRemotePath": "",
            "ServerKeyRemotePath": "",
            "ClientCertPath": str(certs / "cert.pem"),
            "ServerCertSANs": [],
            "StorePath": str(folder),
        },
    }


def _tell_config(folder: Path, options: dict[str, Any]) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_bytes())
    config["HostOptions"] = options
    with NewFile(path, force=True, mode=0o600) as file:
        file.pwrite(0, json.dumps(config, indent=4).encode())


def _stop(state: State) -> Step:
    listening = _said(state, commands.LISTENING).output
    is_up = f":{commands.PORT}" in listening
    yield Took(f"port {commands.PORT}: {'open' if is_up else 'closed: there is no profile yet'}")
    _said(state, commands.MAKE_HOME)
    _said(state, commands.STOP)
    _session(state).run(commands.DELETE_BRIDGE)
    yield Gave("the daemon is stopped")
    return state


def _upload(state: State) -> Step:
    folder = _folder(state)
    for name in ("ca.pem", *SERVER):
        pem = (folder / name).read_bytes()
        _said(state, commands.put_pem(name, pem))
        yield Gave(f"{commands.HOME}/{name}, {len(pem)} bytes")
    return state


def _profile(state: State) -> Step:
    label = f"provider={state.plan.driver.name}"
    profile = build_profile([label], STORAGE)
    _said(state, commands.put_profile(profile))
    for line in profile.decode().split("\n"):
        if "=" in line and not line.startswith(("EXTRA", "--")):
            yield Gave(line)
    yield Gave(f"EXTRA_ARGS: {LABEL} {label}")
    return state


def _start(state: State) -> Step:
    _said(state, commands.START, START_LIMIT)
    listening = _said(state, commands.LISTENING).output
    port = state.guest.daemon_port if state.guest else 0
    if f":{commands.PORT}" not in listening or not port:
        why = state.guest.daemon_words if state.guest else ""
        raise StageFailed(f"nothing listens on port {commands.PORT}{': ' if why else ''}{why}")
    yield Gave(f"port {commands.PORT} of the guest, {port} on {HOST}")
    return state


def connect(state: State, *, with_docker: bool = True) -> Step:
    """Let the machine's client come in through TLS, and three strangers knock.

    Args:
        state: The guest and the machine directory.
        with_docker: Whether docker's own client comes in, too, where there is one.
    """
    port, credentials = yield from _client(state, HOST)
    if with_docker and clock_of(state.plan.ids) is None:  # the client has the system's clock, and no other
        real = docker(port, credentials, "version", "--format", "{{.Server.Version}}", work=state.work)
        if real is not None and not real.works:
            raise StageFailed(f"docker: {real.reason}", state._replace(has_daemon=False))
        if real is not None:
            yield Gave(f"docker version says: {real.answer['said']}")
    yield from _refused(state, port, _strangers(state, credentials))
    return state._replace(has_daemon=True)


def _come(state: State) -> Step:
    """Let the client of a machine that is there come in, as its address; nothing of its store is made."""
    from b2dinspect.machine.folder import open_machine

    port, credentials = yield from _client(state, open_machine(_folder(state)).config.ip or HOST)
    nobody = ("a client without a certificate", Credentials(credentials.authority))
    yield from _refused(state, port, [nobody])
    return state._replace(has_daemon=True)


def _client(state: State, host: str) -> Generator[Event, None, tuple[int, Credentials]]:
    """Come in with the machine's certificates, and return the port and what was shown there."""
    folder = _folder(state)
    port = state.guest.daemon_port if state.guest else 0
    if not port:
        why = state.guest.daemon_words if state.guest else "the guest is off"
        raise StageFailed(f"nothing listens on port {commands.PORT}{': ' if why else ''}{why}")
    credentials = Credentials.of(folder)
    yield Took(f"ca.pem, cert.pem and key.pem of {folder.name}; port {port} on {HOST}")
    met = ask(port, credentials, clock=clock_of(state.plan.ids), host=host)
    if not met.works:
        raise StageFailed(met.reason, state._replace(has_daemon=False))
    yield Gave(f"the daemon answers: version {met.answer.get('Version')}, {_platform(met)}")
    return port, credentials


def _refused(
    state: State, port: int, strangers: Iterable[tuple[str, Credentials]]
) -> Generator[Event, None, None]:
    """Let strangers knock.

    Raises:
        StageFailed: One of them was let in.
    """
    for who, stranger in strangers:
        refused = ask(port, stranger, clock=clock_of(state.plan.ids))
        if refused.works:
            raise StageFailed(f"{who} was let in too", state._replace(has_daemon=False))
        yield Gave(f"{who} is refused: {refused.reason}")


def _platform(met: Met) -> str:
    platform = met.answer.get("Platform")
    return str(platform.get("Name") or "a real one") if isinstance(platform, dict) else "a real one"


def _strangers(state: State, credentials: Credentials) -> Iterator[tuple[str, Credentials]]:
    """Yield who must be refused: nobody, a client of another authority, and one whose time is over."""
    yield "a client without a certificate", Credentials(credentials.authority)
    folder = state.work / "strangers"
    now = float(state.plan.ids.time)
    if not folder.exists():
        folder.mkdir(mode=0o700)
        other = Maker(Identities(), "stranger", now, is_quick=True)
        write_pair(folder, ("other.pem", "other-key.pem"), other.client(other.authority()))
        authority = shared(_store(state), Maker(state.plan.ids)).authority
        earlier = Maker(Identities(), "docker", now - 2000 * DAY, is_quick=True)
        write_pair(folder, ("expired.pem", "expired-key.pem"), earlier.client(authority))
    for who, name in (("a client of another authority", "other"), ("an expired client", "expired")):
        pair = (folder / f"{name}.pem", folder / f"{name}-key.pem")
        yield who, Credentials(credentials.authority, *pair)


def events_of(step: Step) -> Iterator[Event]:
    """Yield what happens in a step, without its writes."""
    for happened in step:
        if isinstance(happened, Took | Gave):
            yield happened


def _container(state: State) -> Step:
    """Import an image, run a container with a volume, read its logs: through TLS, with the real client."""
    port = state.guest.daemon_port if state.guest else 0
    if not port or not state.has_daemon:
        raise SkipStage("no daemon answers")
    if find_program("docker") is None:
        raise SkipStage("there is no docker client on this machine")
    credentials = Credentials.of(_folder(state))
    image = state.work / "image.tar"
    with tarfile.open(image, "w") as tar:
        tar.add(need_program("busybox"), "bin/busybox")
    yield Took(f"an image of one file, busybox, {image.stat().st_size} bytes")
    script = "echo kept > /data/file; echo hello from $HOSTNAME"
    for arguments in (
        ("import", str(image), "hello:1"),
        ("volume", "create", "kept"),
        (
            *("run", "--name", "hello", "--hostname", "a-container", "--network", "none"),
            *("-v", "kept:/data", "hello:1", "/bin/busybox", "sh", "-c", script),
        ),
        ("logs", "hello"),
    ):
        said = docker(port, credentials, *arguments, work=state.work, seconds=RUN_LIMIT)
        if said is None or not said.works:
            raise StageFailed(f"docker {arguments[0]}: {said.reason if said else 'not there'}")
        yield Gave(f"docker {arguments[0]}: {said.answer['said']}")
    return state


CONTAINER = Stage(
    "container",
    "host",
    "Import an image, run a container with a volume, and read its logs.",
    lambda state: "docker import, docker run -v kept:/data, docker logs",
    _container,
)
CONNECT = Stage(
    "connect",
    "host",
    "Come in as a Docker client through TLS; three strangers must be refused.",
    lambda state: "docker --tlsverify -H tcp://IP:2376 version",
    connect,
)
CONNECT_AGAIN = CONNECT._replace(perform=lambda state: connect(state, with_docker=False))
"""After the second boot, where docker's own client has nothing new to tell."""
CONNECT_THERE = CONNECT._replace(
    sentence="Come in as a Docker client through TLS; one without a certificate is refused.",
    perform=_come,
)
"""After the boot of a machine that was there."""
DOOR_STAGES = (
    Stage(
        "provisioner",
        "host",
        "Log in once more, and see which system this is.",
        lambda state: f"exit 0; {commands.OS_RELEASE}",
        _open,
    ),
    Stage(
        "hostname",
        "host",
        "Name the machine, for now and for its next boots.",
        lambda state: commands.set_hostname(state.plan.name),
        _hostname,
    ),
    Stage(
        "host-certificates",
        "host",
        "Make the authority and the client's certificate, once for all machines.",
        lambda state: "cert.BootstrapCertificates(certs/)  (libmachine, in Go)",
        _shared,
    ),
    Stage(
        "server-certificate",
        "host",
        "Make the machine's own certificate, for its address.",
        lambda state: "cert.GenerateCert(server.pem, hosts IP, localhost)  (libmachine, in Go)",
        _server,
    ),
    Stage(
        "daemon-stop",
        "host",
        "Stop the daemon.",
        lambda state: f"{commands.MAKE_HOME}; {commands.STOP}; {commands.DELETE_BRIDGE}",
        _stop,
    ),
    Stage(
        "upload",
        "host",
        "Upload the certificates and the server's key onto the data partition.",
        lambda state: f"printf '%s' 'PEM' | sudo tee {commands.HOME}/{{ca,server,server-key}}.pem",
        _upload,
    ),
    Stage(
        "profile",
        "host",
        "Write the daemon's profile.",
        lambda state: f'printf %s "…" | sudo tee {commands.HOME}/profile',
        _profile,
    ),
    Stage("daemon-start", "host", "Start the daemon.", lambda state: commands.START, _start),
    CONNECT,
)
"""After the first login, in docker-machine's order."""
