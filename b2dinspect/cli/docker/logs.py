"""``b2dinspect docker logs``."""

from __future__ import annotations

import re
import sys
import time
from typing import Annotated

import typer

from b2dinspect.cli.common import AllowChain, Format, Image, Json, command, rules, write_bytes
from b2dinspect.cli.docker.common import DataRoot, end, opened
from b2dinspect.docker.logs import LogLine, nanoseconds, timestamp
from b2dinspect.errors import UsageError
from b2dinspect.render.text import visible

_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")


def _moment(text: str | None, option: str) -> int | None:
    """Return a time that the user typed as nanoseconds since 1970.

    Raises:
        UsageError: It is none.
    """
    if text is None:
        return None
    if re.fullmatch(r"\d{1,12}(\.\d{1,9})?", text):
        whole, _, part = text.partition(".")
        return int(whole) * 10**9 + int(part.ljust(9, "0"))
    found = _DURATION.fullmatch(text)
    if text and found:
        hours, minutes, seconds = (int(one or 0) for one in found.groups())
        return time.time_ns() - (hours * 3600 + minutes * 60 + seconds) * 10**9
    moment = nanoseconds(text)
    if moment is None:
        raise UsageError(
            f"{option} {text} is no time: 2019-07-04, 2019-07-04T12:00:00Z, 1562241600 and 10m are"
        )
    return moment


@command
def logs(
    image: Image,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A container: its name or the beginning of its id.")
    ],
    timestamps: Annotated[
        bool, typer.Option("--timestamps", "-t", help="Begin each line with its time.")
    ] = False,
    since: Annotated[
        str | None, typer.Option("--since", metavar="TIME", help="Nothing before it: a time, or 10m ago.")
    ] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="TIME", help="Nothing after it.")] = None,
    tail: Annotated[
        str, typer.Option("--tail", "-n", metavar="N", help="Only the last N lines, or all.")
    ] = "all",
    as_json: Json = False,
    data_root: DataRoot = None,
    format_name: Format = None,
    folders: AllowChain = None,
) -> None:
    """Print what a container wrote, its stdout on stdout and its stderr on stderr, rotated files too.

    Example: b2dinspect docker logs --timestamps --tail 100 disk.vmdk web

    In a pipe each byte is as the container wrote it; on a terminal, control characters are escaped.
    """
    from b2dinspect.docker.contents import container_named
    from b2dinspect.docker.logs import read_log

    if tail != "all" and not re.fullmatch(r"\d{1,9}", tail):
        raise UsageError(f"--tail {tail} is no number of lines, and not all")
    first, last = _moment(since, "--since"), _moment(until, "--until")
    with opened(image, data_root, format_name, rules(folders)) as found:
        root, container = container_named(found, name)
        most = None if tail == "all" else int(tail)
        lines, problems = read_log(root, container, since=first, until=last, tail=most)
        if as_json:
            from b2dinspect.render import docker as render
            from b2dinspect.render import json

            print(json.dumps(render.log_json(image, container, list(lines), problems)))  # noqa: T201
        else:
            for line in lines:
                _print(line, timestamps)
    end(problems, as_json)


def _print(line: LogLine, with_time: bool) -> None:
    head = f"{timestamp(line.time)} ".encode() if with_time else b""
    if line.stream == "stdout":
        write_bytes(head + line.text)
    elif sys.stderr.isatty():
        sys.stderr.write("\n".join(visible(part) for part in (head + line.text).split(b"\n")))
    else:
        sys.stderr.buffer.write(head + line.text)
