"""What happens during a provision, as facts for a screen, a test or a JSON line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from b2dinspect.records import NamedTuple

if TYPE_CHECKING:
    from b2dinspect.views.annotation import Region
    from b2dinspect.views.diskmap import MapPart

StageStatus = Literal["done", "skipped", "failed"]


class Write(NamedTuple):
    """A run of bytes that a stage changed on the disk.

    Attributes:
        virtual_offset: On the virtual disk, bytes.
        file_offset: In the container file, bytes; None when the container stores none of it (zeros).
        length: Bytes.
        head_offset: On the virtual disk, where the first bytes of it are that are not all zero.
        head: These bytes, at most 32.
    """

    virtual_offset: int
    file_offset: int | None
    length: int
    head_offset: int
    head: bytes


class Started(NamedTuple):
    """A stage begins.

    Attributes:
        number: From 1 on.
        id: Stable name.
        side: Who does it.
        sentence: What it does, in one sentence.
        command: What the original program ran, "" when it ran nothing.
    """

    number: int
    id: str
    side: Literal["host", "guest"]
    sentence: str
    command: str


class Took(NamedTuple):
    """What came into a stage."""

    text: str


class Gave(NamedTuple):
    """What came out of a stage."""

    text: str


class Console(NamedTuple):
    """A line from the console of a booted guest: bytes of a foreign program, made text."""

    text: str


class Done(NamedTuple):
    """A stage ended.

    Attributes:
        number: The stage.
        id: The stage.
        status: ``failed`` is a failure of the guest or the login, not of the tool.
        reason: Why it was skipped or failed.
        seconds: Wall time.
        writes: What it changed on the disk, in order of virtual offset.
    """

    number: int
    id: str
    status: StageStatus
    reason: str
    seconds: float
    writes: tuple[Write, ...]


class Decoded(NamedTuple):
    """What a stage left where it wrote: the disk as a picture, and the structures that it made or changed.

    Attributes:
        size: Virtual size in bytes.
        parts: The disk from its first byte to its last.
        marks: What lies inside of these: the marker, the tar with the key.
        regions: The structures, by offset.
    """

    size: int
    parts: tuple[MapPart, ...]
    marks: tuple[MapPart, ...]
    regions: tuple[Region, ...]


class Serving(NamedTuple):
    """The guest stays up until the consumer closes the event stream.

    Attributes:
        ssh: The command to log in with.
        docker: With which a Docker client comes in; empty when none does.
    """

    ssh: tuple[str, ...]
    docker: tuple[str, ...] = ()


class Finished(NamedTuple):
    """Everything is done.

    Attributes:
        logged_in: Whether the last login worked and a wrong key was refused.
        folder: Where everything is, "" for a disk alone.
        disk: The disk image, "" when none is left.
        message: One sentence.
        snapshots: Copies of the disk after each stage that changed it.
        has_daemon: Whether a Docker client came in through TLS, and strangers did not.
    """

    logged_in: bool
    folder: str
    disk: str
    message: str
    snapshots: tuple[str, ...]
    has_daemon: bool = False


Event = Started | Took | Gave | Console | Decoded | Done | Serving | Finished
