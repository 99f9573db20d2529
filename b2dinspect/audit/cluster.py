"""Records made on a Dask cluster: its workers read the same paths, or URLs, and give the same lines."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from b2dinspect.audit.record import failed, line_of
from b2dinspect.errors import ToolError, UsageError

AHEAD = 256
CONNECT = 30
"""Subjects that are under way, and seconds for the scheduler to answer."""


def lines(subjects: Iterable[str], at: int, hashes: bool, address: str) -> Iterator[str]:
    """Yield a line of JSON for each subject, in their order.

    A worker that dies costs nothing: Dask gives what it had to others. A subject on which several die costs
    its own record.

    Args:
        subjects: Paths or URLs, as the workers see them.
        at: See ``record.line_of``.
        hashes: The same.
        address: The scheduler's, ``tcp://host:8786``.

    Raises:
        UsageError: dask.distributed is not installed.
        ToolError: Nobody answers there.
    """
    try:
        from distributed import Client
    except ImportError:
        raise UsageError("a cluster needs dask.distributed (pip install 'b2dinspect[audit]')") from None
    try:
        connect: Any = Client  # untyped, where it is installed
        client = connect(address, timeout=CONNECT)
    except (OSError, TimeoutError, ValueError) as error:
        raise ToolError(f"no Dask scheduler answers at {address}: {error}") from error
    with client:
        given = iter(subjects)
        waiting: deque[tuple[str, Any]] = deque()
        while True:
            for subject in islice(given, AHEAD - len(waiting)):
                waiting.append((subject, client.submit(line_of, subject, at, hashes, pure=False)))
            if not waiting:
                return
            subject, future = waiting.popleft()
            try:
                yield str(future.result())
            except Exception as error:  # what a worker raises, or its death
                yield json.dumps(failed(subject, f"{type(error).__name__}: {error}"))
