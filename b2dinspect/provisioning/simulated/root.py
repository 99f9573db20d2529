"""Root in the simulated guest, for docker-machine's provisioner: files of the data partition, the daemon.

The commands are those of the provisioner and no others; what they write goes into the data partition.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from b2dinspect.errors import EvidenceError
from b2dinspect.filesystems.ext4 import Ext4
from b2dinspect.identity import Identities
from b2dinspect.partitions import Partition
from b2dinspect.provisioning import commands
from b2dinspect.provisioning.disk.ext4 import PartitionSpan, Placed, editing, put
from b2dinspect.provisioning.disk.overlay import Writable
from b2dinspect.provisioning.simulated.daemon import DaemonFiles, DoesNotStartError, PlayedDaemon
from b2dinspect.records import NamedTuple
from b2dinspect.source import SliceSource, read_lenient
from b2dinspect.userdata.daemon_profile import MAX_SIZE

NO_SUCH_COMMAND = 127
HOME = "var/lib/boot2docker"
ETC = f"{HOME}/etc"
"""automount makes it at the first boot, autoformat does not; whoever sets a hostname needs it."""
HOSTNAME = f"{ETC}/hostname"
NAMES = ("profile", "ca.pem", "server.pem", "server-key.pem")
"""What the daemon needs, as ``DaemonFiles`` goes."""
OS_RELEASE = (
    "NAME=Boot2Docker\nVERSION=18.09.1\nID=boot2docker\nID_LIKE=tcl\n"
    'PRETTY_NAME="Boot2Docker 18.09.1 (played by b2dprovision)"\n'
)


class CommandResult(NamedTuple):
    """What a command comes to: its exit status, and what it prints."""

    status: int
    output: str


class Root:
    """Root, who has the data partition mounted.

    Args:
        work: A private folder.
        ids: The time of what is written.
        hostname: Of the machine until it is told another one.
        clock: Seconds since 1970 of the guest's clock; None for the system's.

    Attributes:
        daemon: The daemon while it is up.
        words: What the daemon said when it did not start; "" otherwise.
        hostname: Of the machine.
    """

    def __init__(self, work: Path, ids: Identities, hostname: str, clock: float | None) -> None:
        self.daemon: PlayedDaemon | None = None
        self.words = ""
        self.hostname = hostname
        self._work, self._ids, self._clock = work, ids, clock
        self._disk: Writable | None = None
        self._part: Partition | None = None
        self._pending: dict[str, bytes] = {}

    @property
    def daemon_port(self) -> int:
        """TCP port on 127.0.0.1; 0 while the daemon is down."""
        return self.daemon.port if self.daemon else 0

    def mount(self, disk: Writable, part: Partition) -> None:
        """Have the data partition from now on."""
        self._disk, self._part = disk, part

    def unmount(self) -> None:
        """Have it no more, when all is written."""
        self.sync()
        self._disk = self._part = None

    def read(self, path: str) -> bytes | None:
        """Return a small file of the data partition; None when it is not there, or nothing is mounted."""
        if path in self._pending:
            return self._pending[path]
        if self._disk is None or self._part is None:
            return None
        with (
            suppress(EvidenceError),
            Ext4(SliceSource(self._disk, self._part.offset, self._part.size)) as files,
        ):
            return read_lenient(files.content(files.find(path.encode())), 0, MAX_SIZE)
        return None

    def sync(self) -> None:
        """Let what was written reach the disk."""
        if self._disk is None or self._part is None or not self._pending:
            return
        place = PartitionSpan(self._disk, self._part.offset, self._part.size)
        with editing(place, self._ids, mounts_unclean=True) as edits:
            folders = [ETC] if HOSTNAME in self._pending else []
            put(edits, [Placed(*item) for item in self._pending.items()], folders)
        self._pending.clear()

    def run(self, line: str) -> CommandResult | None:
        """Run a command of the provisioner's; None for one that is none."""
        wanted = commands.parse(line)
        if wanted is None:
            return None
        if isinstance(wanted, commands.Put):
            if self._disk is None:
                return CommandResult(1, "tee: no space left: the data partition is not mounted\n")
            self._pending[wanted.path.lstrip("/")] = wanted.content
            self.hostname = wanted.hostname or self.hostname
            return CommandResult(0, wanted.content.decode("utf-8", "surrogateescape"))
        if wanted == commands.START:
            self.start()
            return CommandResult(0, "")
        if wanted == commands.STOP:
            self.stop()
        return CommandResult(0, self._told(wanted))

    def _told(self, command: str) -> str:
        if command == commands.OS_RELEASE:
            return OS_RELEASE
        if command == commands.LISTENING:
            ports = [22, *([commands.PORT] if self.daemon else [])]
            return "".join(f"tcp  0  0 :::{port}  :::*  LISTEN\n" for port in ports)
        return ""

    def start(self) -> None:
        """Start the daemon as its init script does, if it starts with what lies on the disk."""
        self.stop()
        files = DaemonFiles(*(self.read(f"{HOME}/{name}") for name in NAMES))
        try:
            self.daemon = PlayedDaemon(files, self._work, self.hostname, self._clock)
        except DoesNotStartError as error:
            self.words = str(error)

    def stop(self) -> None:
        """Stop the daemon; stopping twice is harmless."""
        self.words = ""
        if self.daemon is not None:
            self.daemon.stop()
            self.daemon = None
