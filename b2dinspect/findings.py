"""What is odd: the one shape in which every layer reports a fault that did not stop it."""

from __future__ import annotations

from typing import Literal

from b2dinspect.records import NamedTuple

Severity = Literal["info", "warning", "error"]
Space = Literal["file", "virtual"]


class Finding(NamedTuple):
    """One thing worth a person's attention.

    Attributes:
        id: Stable name, made of the layer and the fault (``"vdi-block-shared"``).
        severity: ``info`` is worth knowing, ``warning`` wants a look, ``error`` means data or login is lost.
        message: One sentence in plain words. Text from the evidence in it is escaped by the renderer.
        offset: Where, in bytes, or None when no one place is at fault.
        space: Whether ``offset`` counts in the container file or on the virtual disk.
        file: The file of the host that it is about; "" for the disk image.
    """

    id: str
    severity: Severity
    message: str
    offset: int | None = None
    space: Space = "virtual"
    file: str = ""

    @property
    def is_fault(self) -> bool:
        """Whether this finding makes the exit status 1 (``info`` does not)."""
        return self.severity != "info"
