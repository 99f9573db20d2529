"""``b2dinspect doctor``, ``explain`` and ``machines``: what is wrong, what it means, and where."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from b2dinspect.cli.common import (
    FINDINGS,
    Address,
    AllowChain,
    At,
    Format,
    Json,
    ProgressBar,
    command,
    complain,
    out,
    rules,
    visit_of,
)
from b2dinspect.errors import B2dError, ContainerError, UsageError

if TYPE_CHECKING:
    from b2dinspect.doctor.diagnosis import Diagnosis
    from b2dinspect.userdata.admission import Visit

FEW = 16
"""Machines that are shown together: a list of more begins while the rest is looked at."""
SHOWN_EVERY = 0.2
"""Seconds."""


@command
def doctor(
    subject: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME|DIR|IMAGE]",
            help="A machine's name or directory, or a disk image; by default the only machine there is.",
        ),
    ] = None,
    as_json: Json = False,
    format_name: Format = None,
    at: At = None,
    address: Address = None,
    folders: AllowChain = None,
) -> None:
    """Tell why a machine will not let you in, where the chain from key to login breaks, and what to do.

    Example: b2dinspect doctor sample_images/userdata-missing.vdi.gz

    A key line that expires, or asks from where somebody comes, is judged for --at and --address. Exit
    status: 0 nothing wrong here, 1 something is, 2 it could not look.
    """
    from b2dinspect.doctor.case import open_case
    from b2dinspect.doctor.diagnosis import diagnose, evidence_bytes
    from b2dinspect.render import doctor as render

    visit, subject = visit_of(at, address), subject or _only_machine()
    with (
        _advising(),
        ProgressBar() as progress,
        open_case(
            subject, format_name=format_name, rules=rules(folders), progress=progress, visit=visit
        ) as case,
    ):
        found = diagnose(case, visit.at)
        evidence = [evidence_bytes(case.disk, one.finding) if case.disk else b"" for one in found.findings]
    if as_json:
        from b2dinspect.render import json

        print(json.dumps(render.diagnosis_json(found, evidence)))  # noqa: T201
    else:
        out(*render.diagnosis(found, evidence))
    if not found.is_healthy:
        raise typer.Exit(FINDINGS)


@contextmanager
def _advising() -> Iterator[None]:
    """Say what to do about an image whose header is refused."""
    try:
        yield
    except ContainerError as error:
        if error.offset is not None and error.expected is not None:
            text = (
                "a damaged header hides what is in the file and takes none of it away: keep the file as it "
                "is, look for a backup of it, and try on a copy what may mend its header"
            )
            raise B2dError(f"{error}; {text}") from error
        raise


def _only_machine() -> str:
    """Return the only machine of this host, or the one called ``default``.

    Raises:
        UsageError: There is none, or there are several.
    """
    from b2dinspect.machine.places import find_machines, stores

    found = find_machines()
    if not found:
        where = ", ".join(str(place) for place in stores()) or "~/.docker/machine, ~/.minikube"
        raise UsageError(f"no machine on this host (looked in {where}); name one, or a disk image")
    for path in found:
        if len(found) == 1 or path.name == "default":
            return str(path)
    raise UsageError(f"which machine? There are {', '.join(path.name for path in found)}")


@command
def explain(
    finding: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Id of a finding; without it, all are listed.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Explain a finding: what it means, why it matters, and what to do on each system.

    Example: b2dinspect explain userdata-missing
    """
    from b2dinspect.doctor import explanations
    from b2dinspect.render import doctor as render
    from b2dinspect.render import json

    items = [explanations.explain(finding)] if finding else [*explanations.explanations()]
    if as_json:
        print(json.dumps({"explanations": [render.explanation_json(item) for item in items]}))  # noqa: T201
    elif finding:
        out(*render.explanation(items[0]))
    else:
        out(render.explanation_list(items))


@command
def machines(
    folders: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[DIR]…", help="Machine directories, or folders of them; by default this host's."
        ),
    ] = None,
    as_json: Json = False,
    at: At = None,
) -> None:
    """List machines, a line each: driver, state, disk, size, whether the key fits, and the first finding.

    Where there are certificates, until when each is good; one with a ! is not. Where the terminal is too
    narrow, size, disk and driver are left out.

    Example: b2dinspect machines ~/.docker/machine

    Without DIR: those of docker-machine and minikube on this host, and the disks of Docker Desktop. Exit
    status: 0 nothing wrong with any, 1 something is, 2 it could not look.
    """
    from b2dinspect.doctor.desktop import look_at_desktop
    from b2dinspect.machine.places import find_machines
    from b2dinspect.render import doctor as render

    visit, paths = visit_of(at, None), find_machines(tuple(folders or ()))
    rows: list[dict[str, Any]] = []
    is_sound, is_any = True, False
    listed = render.MachineList([path.name for path in paths] if len(paths) > FEW else ())
    for part in _looked_at(paths, 0 if as_json or len(paths) <= FEW else SHOWN_EVERY, visit):
        is_sound = is_sound and all(item is not None and item.is_healthy for item in part)
        found = [item for item in part if item]
        is_any = is_any or bool(found)
        if as_json:
            rows += map(render.machine_row, found)
        elif found:
            out(listed.part(found))
            sys.stdout.flush()
    desktop = () if folders else look_at_desktop()
    if as_json:
        from b2dinspect.render import json

        document = {"machines": rows, "desktop": [render.desktop_row(item) for item in desktop]}
        print(json.dumps(document))  # noqa: T201
    else:
        out(*render.desktop(desktop))
        if not is_any and not desktop:
            complain("no machines found")
    if not is_sound:
        raise typer.Exit(FINDINGS)


def _looked_at(paths: Sequence[Path], seconds: float, visit: Visit) -> Iterator[list[Diagnosis | None]]:
    """Yield what was found, the first at once and then all of each so many seconds; all together for 0.

    None stands for what cannot be looked at, which was said.
    """
    from b2dinspect.doctor.case import open_case
    from b2dinspect.doctor.diagnosis import diagnose

    found: list[Diagnosis | None] = []
    shown = 0.0
    with ProgressBar() if not seconds else nullcontext(lambda *_: None) as progress:
        for number, path in enumerate(paths):
            progress("looking", number, len(paths))
            try:
                with open_case(str(path), visit=visit) as case:
                    found.append(diagnose(case, visit.at))
            except B2dError as error:
                complain(str(error))
                found.append(None)
            if seconds and time.monotonic() - shown > seconds:
                yield found
                found, shown = [], time.monotonic()
    yield found
