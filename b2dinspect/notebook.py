"""For notebooks and the Python prompt: disks, keys, differences and provisions that show themselves.

Everything here is a *view*: it holds facts, draws itself as HTML in Jupyter, and as plain text anywhere else.
What it knows is in its attributes; nothing has to be read off the picture.

>>> import b2dinspect as b2d
>>> disk = b2d.open("sample_images/fresh.vdi.gz")
>>> disk.state
'fresh'
>>> disk.read(0, 29)
b'boot2docker, please format-me'
>>> [key.line.key.type for key in disk.keys]
['ssh-rsa', 'ssh-rsa']
>>> disk.close()
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Generic, Literal, Self, TypeVar, overload

if TYPE_CHECKING:
    from rich.console import RenderableType

    from b2dinspect.docker.facts import Contents, DockerContainer, DockerImage, DockerVolume
    from b2dinspect.doctor.diagnosis import Diagnosis
    from b2dinspect.filesystems.ext4 import DirectoryEntry
    from b2dinspect.findings import Finding
    from b2dinspect.inspection.facts import FoundKey, Inspection, Userdata
    from b2dinspect.provisioning.events import Done, Event, Started
    from b2dinspect.provisioning.tries import Try
    from b2dinspect.views.annotation import Place, Region
    from b2dinspect.views.comparison import Comparison
    from b2dinspect.views.diskmap import DiskMap

WIDTH = 100
"""Columns of a view's text."""

Draw = Callable[[], "Iterable[RenderableType]"]
Item = TypeVar("Item")


class View:
    """Something that shows itself.

    Args:
        draw: Returns what rich is to print.
        picture: Returns SVG to show instead where pictures can be shown.
    """

    def __init__(self, draw: Draw, picture: Callable[[], str] | None = None) -> None:
        self._draw = draw
        self._picture = picture

    def __repr__(self) -> str:
        from b2dinspect.render import export

        return export.plain(self._draw(), WIDTH)

    def _repr_html_(self) -> str:
        from b2dinspect.render import export

        return self._picture() if self._picture is not None else export.fragment(self._draw(), WIDTH)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return {"text/plain": repr(self), "text/html": self._repr_html_()}


class Views(View, Sequence[Item], Generic[Item]):
    """A sequence that shows itself."""

    def __init__(self, items: Sequence[Item], draw: Draw) -> None:
        super().__init__(draw)
        self._items = items

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Item]: ...
    def __getitem__(self, index: int | slice) -> Item | Sequence[Item]:
        """Return an item, or a run of them."""
        return self._items[index]

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._items)


class Bytes(View):
    """Annotated bytes.

    Attributes:
        regions: What is shown, with every field.
    """

    def __init__(self, regions: Sequence[Region]) -> None:
        from b2dinspect.render import hexdump

        self.regions = regions
        super().__init__(lambda: (part for region in regions for part in hexdump.dump(region)))

    def __bytes__(self) -> bytes:
        """Return the bytes alone."""
        return b"".join(region.data for region in self.regions)


class Map(View):
    """A disk as a picture.

    Attributes:
        map: What lies where.
    """

    def __init__(self, found: DiskMap, title: str) -> None:
        from b2dinspect.render import diskmap, svg

        self.map = found
        super().__init__(lambda: diskmap.picture(found), lambda: svg.picture(found, title))


class Answer(View):
    """The doctor's answer.

    Attributes:
        diagnosis: All of it.
        healthy: Whether nothing was found that keeps anybody out.
        ids: Ids of the findings, the cause first.
    """

    def __init__(self, diagnosis: Diagnosis) -> None:
        from b2dinspect.doctor.diagnosis import evidence_bytes
        from b2dinspect.render import doctor

        self.diagnosis = diagnosis
        self.healthy = diagnosis.is_healthy
        self.ids = [one.finding.id for one in diagnosis.findings]
        disk = diagnosis.case.disk
        data = [evidence_bytes(disk, one.finding) if disk else b"" for one in diagnosis.findings]
        super().__init__(lambda: doctor.diagnosis(diagnosis, data))


class Difference(View):
    """How two sets of keys differ.

    Attributes:
        comparison: All of it.
        differs: Whether they do.
    """

    def __init__(self, found: Comparison) -> None:
        from b2dinspect.render import console

        self.comparison = found
        self.differs = found.differs
        super().__init__(lambda: [console.comparison(found)])


class Replay:
    """A page of its own within a notebook.

    Attributes:
        page: The page, as HTML.
    """

    def __init__(self, page: str, height: int) -> None:
        self.page = page
        self._height = height

    def save(self, path: str | Path, *, force: bool = False) -> None:
        """Write the page; see ``NewFile`` for errors."""
        from b2dinspect.newfile import NewFile

        with NewFile(path, force=force) as file:
            file.pwrite(0, self.page.encode("utf-8", "replace"))

    def __repr__(self) -> str:
        """Return what to do with it where no page can be shown."""
        return "a page that plays the provision; save(path) writes it, for a browser"

    def _repr_html_(self) -> str:
        from b2dinspect.render.markup import Html

        frame = '<iframe sandbox="allow-scripts" width="100%" height="{}" srcdoc="{}"></iframe>'
        return str(Html.of(frame, self._height, Html.page(self.page)))


class Stages(View):
    """A provision, stage by stage.

    Attributes:
        events: Everything that happened.
        folder: The machine directory that was made.
        disk: The disk image.
        logged_in: Whether the last login worked.
    """

    def __init__(self, events: Sequence[Event], folder: Path, disk: Path) -> None:
        from b2dinspect.provisioning.events import Finished
        from b2dinspect.render import stages

        self.events = events
        self.folder, self.disk = folder, disk
        self.logged_in = any(isinstance(one, Finished) and one.logged_in for one in events)
        super().__init__(lambda: [part for one in events if (part := stages.event(one)) is not None])

    def replay(self, language: Literal["en", "zh"] = "en", height: int = 720) -> Replay:
        """Return the page that plays it again, in a frame of ``height`` pixels."""
        from b2dinspect.provisioning.story import gather, recorded
        from b2dinspect.render.events import event_json
        from b2dinspect.render.story import page

        return Replay(page(gather(recorded(map(event_json, self.events))), language), height)

    def __iter__(self) -> Iterator[tuple[Started, Done]]:
        """Yield each stage's beginning and end."""
        from b2dinspect.provisioning.events import Done, Started

        begun: dict[int, Started] = {}
        for happened in self.events:
            if isinstance(happened, Started):
                begun[happened.number] = happened
            elif isinstance(happened, Done) and happened.number in begun:
                yield begun[happened.number], happened


class Disk(View):
    """An opened disk. A context manager; or call ``close()``.

    Attributes:
        facts: Everything that was found; it can still be shown when the disk is closed.
        findings: What is odd, the gravest first.
    """

    def __init__(self, facts: Inspection) -> None:
        from b2dinspect.doctor.disk import examine
        from b2dinspect.render import console

        self.facts = facts
        self.findings: list[Finding] = examine(facts)
        findings = self.findings  # without self: what is dropped is closed at once
        super().__init__(lambda: [console.show(facts, findings)])

    @property
    def state(self) -> str:
        """``fresh``, ``provisioned``, ``partitioned``, ``blank``, ``foreign`` or ``damaged``."""
        return self.facts.state

    @property
    def size(self) -> int:
        """Virtual size in bytes."""
        return self.facts.container.size

    @property
    def header(self) -> Bytes:
        """The container's header, every field explained; empty for a raw image."""
        from b2dinspect.views.annotation import place

        found = place(self.facts, "header")
        return Bytes([found] if found else [])

    @property
    def userdata(self) -> Views[Userdata]:
        """The userdata tars, the one that decides first."""
        from b2dinspect.render import console

        return Views(self.facts.userdata, lambda: [console.userdata(self.facts)])

    @property
    def keys(self) -> Views[FoundKey]:
        """All key lines, with fingerprints."""
        from b2dinspect.render import console

        return Views(self.facts.keys, lambda: [console.key_list(self.facts.keys)])

    @property
    def containers(self) -> Views[DockerContainer]:
        """The containers that Docker or another engine left, newest first."""
        from b2dinspect.render import docker

        found = self._engines()
        kept = [container for one in found for container in one.containers]
        return Views(kept, lambda: docker.drawn(docker.containers(found, {}, is_whole=False)))

    @property
    def images(self) -> Views[DockerImage]:
        """The images, newest first."""
        from b2dinspect.render import docker

        found = self._engines()
        kept = [image for one in found for image in one.images if not image.is_intermediate]
        return Views(kept, lambda: docker.drawn(docker.images(found, with_steps=False, is_whole=False)))

    @property
    def docker_volumes(self) -> Views[DockerVolume]:
        """The volumes of the containers, by name."""
        from b2dinspect.docker.contents import contents
        from b2dinspect.docker.roots import open_roots
        from b2dinspect.docker.usage import volume_usage
        from b2dinspect.render import docker

        with open_roots(self.facts) as roots:
            found = tuple(contents(root) for root in roots)
            usages = {volume.path: volume_usage(one.root, volume) for one in found for volume in one.volumes}
        kept = [volume for one in found for volume in one.volumes]
        return Views(kept, lambda: docker.drawn(docker.volumes(found, usages)))

    def _engines(self) -> tuple[Contents, ...]:
        from b2dinspect.docker.contents import contents
        from b2dinspect.docker.roots import open_roots

        with open_roots(self.facts) as roots:
            return tuple(contents(root) for root in roots)

    @property
    def map(self) -> Map:
        """The disk as a picture."""
        from b2dinspect.views.diskmap import draw

        return Map(draw(self.facts), f"map of {self.facts.path}")

    def hexdump(
        self,
        at: Place | int | None = None,
        length: int | None = None,
        *,
        space: Literal["virtual", "file"] = "virtual",
    ) -> Bytes:
        """Return annotated bytes: of a place, of an offset (bytes), or of all places that matter.

        Raises:
            UsageError: There is no such place on this disk.
        """
        from b2dinspect.errors import UsageError
        from b2dinspect.views.annotation import overview, place, region

        if at is None:
            return Bytes(overview(self.facts))
        if isinstance(at, int):
            return Bytes([region(self.facts, space, at, length or 256)])
        found = place(self.facts, at, length)
        if found is None:
            raise UsageError(f"this disk has no {at}")
        return Bytes([found])

    def read(self, offset: int, length: int) -> bytes:
        """Return bytes of the virtual disk."""
        return self.facts.container.pread(offset, length)

    def ls(self, path: str = "/") -> Views[DirectoryEntry]:
        """Return what is in a directory of the data partition.

        Raises:
            NotFoundError: There is no such directory.
        """
        from b2dinspect.filesystems.ext4 import Ext4
        from b2dinspect.inspection.walk import volume_for
        from b2dinspect.render import console

        with Ext4(volume_for(self.facts, None).source) as files:
            found = files.list(files.find(path.encode()))
        return Views(found, lambda: [console.listing(found)])

    def cat(self, path: str) -> bytes:
        """Return a file of the data partition.

        Raises:
            NotFoundError: There is no such file.
        """
        from b2dinspect.filesystems.ext4 import Ext4
        from b2dinspect.inspection.walk import volume_for

        with Ext4(volume_for(self.facts, None).source) as files:
            entry = files.find(path.encode())
            return files.content(entry).pread(0, entry.node.size)

    def close(self) -> None:
        """Close the disk and all files that it stands on; what was found stays."""
        self.facts.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open(path: str | Path, *, image_format: str | None = None) -> Disk:  # noqa: A001 - b2d.open reads well
    """Open a disk image for reading.

    Raises:
        UsageError: Not a file, or an unknown format.
        EvidenceError: No disk can be made out of it.
    """
    from b2dinspect.inspection.walk import inspect

    facts = inspect(str(path), format_name=image_format)
    try:
        return Disk(facts)
    except BaseException:
        facts.close()
        raise


def diff(left: str | Path, right: str | Path) -> Difference:
    """Compare the keys of two places: images, machine directories, key files.

    Raises:
        EvidenceError: One of them cannot be read.
    """
    from b2dinspect.views.comparison import compare, key_set

    return Difference(compare(key_set(str(left)), key_set(str(right))))


def diagnose(subject: str | Path, at: str = "") -> Answer:
    """Ask why a machine will not let anybody in; certificates are judged for a day, ``2019-06-01``, or now.

    Raises:
        UsageError: No such machine or file.
        ValueError: ``at`` is no date.
    """
    from datetime import UTC, datetime

    from b2dinspect.doctor import diagnosis
    from b2dinspect.doctor.case import open_case

    with open_case(str(subject)) as case:
        when = datetime.fromisoformat(at).replace(tzinfo=UTC).timestamp() if at else None
        return Answer(diagnosis.diagnose(case, when))


def provision(
    folder: str | Path,
    name: str = "demo",
    *,
    guest: Literal["automount", "autoformat", "minikube"] = "autoformat",
    image_format: str = "vdi",
    fault: str = "",
    tamper: Literal["", "delete-keys", "replace-userdata"] = "",
    keeps_stages: bool = False,
    seed: str | None = None,
    docker: bool = False,
) -> Stages:
    """Make a machine below ``folder`` with the simulated engine, boot it twice, and log in each time.

    With ``docker`` it goes on behind the login, as docker-machine does, to a daemon behind TLS.

    Raises:
        UsageError: The machine exists, or there is no such fault.
        ToolError: A program that is needed is missing or failed.
    """
    from b2dinspect.errors import UsageError
    from b2dinspect.guests import profile_named
    from b2dinspect.identity import Identities
    from b2dinspect.provisioning.faults import FAULTS
    from b2dinspect.provisioning.host.drivers import DRIVERS
    from b2dinspect.provisioning.pipeline import provision as perform
    from b2dinspect.provisioning.stages import Plan

    if fault and fault not in FAULTS:
        raise UsageError(f"no fault is called {fault!r}; there are {', '.join(FAULTS)}")
    plan = Plan(
        name=name,
        driver=DRIVERS["virtualbox"],
        profile=profile_named(guest),
        format=image_format,
        folder=Path(folder),
        fault=fault,
        tamper=tamper,
        keeps_stages=keeps_stages,
        ids=Identities.from_seed(seed),
        docker=docker,
        decodes=True,
    )
    events = list(perform(plan))
    machine = Path(folder).absolute() / name
    return Stages(events, machine, machine / plan.disk_name)


def tries(*names: str) -> Views[Try]:
    """Try what one would try first to get in without typing, for real; see ``provisioning.tries``.

    Raises:
        ToolError: There is no ssh client.
    """
    from b2dinspect.provisioning.tries import tries as tried
    from b2dinspect.render.stages import attempt

    found = list(tried(names))
    return Views(found, lambda: [attempt(one) for one in found])


def incident(packed: str | Path, folder: str | Path) -> Path:
    """Unpack a broken machine of ``sample_images/incidents`` below ``folder``, and return its directory.

    Raises:
        UsageError: It exists already.
    """
    from b2dinspect.provisioning.samples.incidents import unpack

    return unpack(Path(packed), Path(folder))
