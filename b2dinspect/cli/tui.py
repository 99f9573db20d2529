"""``b2dinspect tui``: walk through a disk with the keyboard."""

from __future__ import annotations

import sys

from b2dinspect.cli.common import AllowChain, Format, Image, command, examine, rules
from b2dinspect.errors import UsageError


@command
def tui(image: Image, format_name: Format = None, folders: AllowChain = None) -> None:
    """Explore a disk: structures on the left, their bytes on the right. `?` shows the keys.

    Example: b2dinspect tui sample_images/provisioned-automount.vdi.gz

    Needs Textual: pip install textual
    """
    try:
        from b2dinspect.tui import Explorer
    except ImportError as error:
        text = f"the explorer needs Textual ({error}): {sys.executable} -m pip install textual"
        raise UsageError(text) from error
    with examine(image, format_name, rules(folders)) as facts:
        Explorer(facts).run()
