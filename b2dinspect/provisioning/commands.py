"""What docker-machine's provisioner says over ssh, as it says it, and the grammar in which a guest reads it.

Source: libmachine/provision/{boot2docker,utils}.go of docker-machine 0.16.
"""

from __future__ import annotations

import re

from b2dinspect.records import NamedTuple

HOME = "/var/lib/boot2docker"
PORT = 2376
OS_RELEASE = "cat /etc/os-release"
LISTENING = "if ! type netstat 1>/dev/null; then ss -tln; else netstat -tln; fi"
MAKE_HOME = f"sudo mkdir -p {HOME}"
STOP = "sudo /etc/init.d/docker stop"
START = "sudo /etc/init.d/docker start"
DELETE_BRIDGE = 'if [ ! -z "$(ip link show docker0)" ]; then sudo ip link delete docker0; fi'
MAX_COMMAND = 128 << 10
"""Characters: the largest file that can be uploaded so, and the words around it."""
SIMPLE = ("exit 0", OS_RELEASE, LISTENING, MAKE_HOME, STOP, START, DELETE_BRIDGE)
"""Commands that say nothing of their own."""
_NAME = r"(?P<name>[A-Za-z0-9][A-Za-z0-9.-]{0,62})"
_HOSTNAME = re.compile(
    rf'sudo /usr/bin/sethostname {_NAME} && echo "(?P=name)" \| sudo tee {HOME}/etc/hostname'
)
_PEM = re.compile(
    rf"printf '%s' '(?P<text>[A-Za-z0-9+/=\n -]*)' \| sudo tee {HOME}/(?P<file>ca|server|server-key)\.pem"
)
_PROFILE = re.compile(
    rf'sudo mkdir -p {HOME} && printf %s "(?P<text>[^"\\$`\0]*)" \| sudo tee {HOME}/profile'
)


class Put(NamedTuple):
    """A file that a command writes.

    Attributes:
        path: From the root of the guest.
        content: All of it.
        hostname: The name that the machine gets besides; "" for none.
    """

    path: str
    content: bytes
    hostname: str = ""


def set_hostname(name: str) -> str:
    """Return the command that names the machine, for now and for its next boots."""
    return f'sudo /usr/bin/sethostname {name} && echo "{name}" | sudo tee {HOME}/etc/hostname'


def put_pem(file: str, pem: bytes) -> str:
    """Return the command that uploads a certificate or a key."""
    return f"printf '%s' '{pem.decode('ascii')}' | sudo tee {HOME}/{file}"


def put_profile(profile: bytes) -> str:
    """Return the command that writes the daemon's profile."""
    return f'sudo mkdir -p {HOME} && printf %s "{profile.decode()}" | sudo tee {HOME}/profile'


def parse(line: str) -> Put | str | None:
    r"""Return what a command is: a file to write, one of ``SIMPLE``, or None for none of the provisioner's.

    >>> parse('sudo /usr/bin/sethostname a && echo "a" | sudo tee /var/lib/boot2docker/etc/hostname')
    Put(path='/var/lib/boot2docker/etc/hostname', content=b'a\n', hostname='a')
    >>> parse('sudo /usr/bin/sethostname a && echo "b" | sudo tee /var/lib/boot2docker/etc/hostname')
    """
    if len(line) > MAX_COMMAND:
        return None
    if line in SIMPLE:
        return line
    if found := _HOSTNAME.fullmatch(line):
        return Put(f"{HOME}/etc/hostname", f"{found['name']}\n".encode(), found["name"])
    if found := _PEM.fullmatch(line):
        return Put(f"{HOME}/{found['file']}.pem", found["text"].encode())
    if found := _PROFILE.fullmatch(line):
        return Put(f"{HOME}/profile", found["text"].encode("utf-8", "surrogateescape"))
    return None
