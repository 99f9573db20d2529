"""All that is known of a disk as one document, and questions to it (JMESPath, https://jmespath.org)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from b2dinspect.errors import UsageError
from b2dinspect.render import json

if TYPE_CHECKING:
    from b2dinspect.docker.summary import Summary
    from b2dinspect.findings import Finding
    from b2dinspect.inspection.facts import Inspection

_NAMES = re.compile(r"\w+(\[\d+\])?(\.\w+(\[\d+\])?)*", re.ASCII)
MAX_EXPRESSION = 4096


def compiled(expression: str) -> Callable[[Any], Any]:
    """Return the function that answers a question.

    Raises:
        UsageError: It is none, and where; or, when it is asked, its functions do not fit what is there.
    """
    from jmespath import compile as understood  # slow to import
    from jmespath.exceptions import JMESPathError

    if len(expression) > MAX_EXPRESSION:
        raise UsageError(f"an expression of {len(expression)} characters; {MAX_EXPRESSION} are read")
    try:
        question = understood(expression)
    except (JMESPathError, RecursionError) as error:
        raise UsageError(f"the expression makes no sense: {_said(error)}") from None

    def answer(document: Any) -> Any:
        try:
            return question.search(document)
        except (JMESPathError, RecursionError) as error:
            raise UsageError(f"the expression does not fit what is there: {_said(error)}") from None

    return answer


def _said(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def document(
    facts: Inspection, findings: Sequence[Finding], engines: Sequence[Summary] = ()
) -> dict[str, Any]:
    """Return what ``show --json`` has, with ``header``, ``headers`` and ``fields``."""
    found = json.show(facts, findings, engines)
    headers = json.headers(facts)
    fields = [
        {
            "structure": header["name"],
            "space": header["space"],
            **field,
            "offset": header["offset"] + field["offset"],
            "file_offset": _in_file(facts, header["space"], header["offset"] + field["offset"]),
        }
        for header in headers
        for field in header["fields"]
    ]
    return found | {"header": found["container"]["header"], "headers": headers, "fields": fields}


def _in_file(facts: Inspection, space: str, offset: int) -> int | None:
    return offset if space == "file" else facts.container.locate(offset)


def nearest(found: Any, expression: str) -> str:
    """Return the right name that is nearest to the first wrong one of a path; "" when that cannot be told."""
    import difflib  # slow to import, and only for a mistake

    if not _NAMES.fullmatch(expression):
        return ""
    right: list[str] = []
    for step in expression.split("."):
        name, _, index = step.rstrip("]").partition("[")
        if not isinstance(found, dict):
            return ""
        if name not in found:
            near = difflib.get_close_matches(name, found, 1, 0.5)
            return ".".join([*right, near[0]]) if near else ""
        found = found[name]
        if index and isinstance(found, list):
            found = found[int(index)] if int(index) < len(found) else None
        right.append(step)
    return ""
