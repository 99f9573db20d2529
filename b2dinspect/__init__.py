"""b2dinspect: an educational forensic toolkit for boot2docker disks.

A boot2docker machine lets its owner in over ssh without a password because the host wrote a tar with
the public key at byte 0 of an empty disk, and the guest found it there at its first boot. This package
reads such disks, at every layer from the container file down to the key, and never writes to them.

For notebooks: ``import b2dinspect as b2d``, then ``b2d.open``, ``b2d.diff``, ``b2d.diagnose`` and
``b2d.provision``; see ``b2dinspect.notebook``. They are imported when they are used, not before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from b2dinspect.notebook import diagnose as diagnose
    from b2dinspect.notebook import diff as diff
    from b2dinspect.notebook import incident as incident
    from b2dinspect.notebook import open as open  # noqa: A004 - b2d.open reads well
    from b2dinspect.notebook import provision as provision
    from b2dinspect.notebook import tries as tries

__version__ = "0.1.0"
__all__ = ["diagnose", "diff", "incident", "open", "provision", "tries"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        import importlib

        return getattr(importlib.import_module("b2dinspect.notebook"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
