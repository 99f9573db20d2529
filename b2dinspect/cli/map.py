"""``b2dinspect map``: the disk as a picture."""

from __future__ import annotations

from b2dinspect.cli.common import AllowChain, Format, Image, Json, command, examine, out, rules
from b2dinspect.cli.hexdump import Force, Html, Svg


@command
def map_(
    image: Image,
    svg: Svg = None,
    html: Html = None,
    force: Force = False,
    as_json: Json = False,
    format_name: Format = None,
    folders: AllowChain = None,
) -> None:
    """Draw a disk: the file with its metadata and blocks, the disk in it, and its first MiB, each to scale.

    Example: b2dinspect map sample_images/provisioned-automount.vdi.gz

    The second line of a strip marks what matters; the last one, with `#`, tells what the file stores.
    """
    from b2dinspect.views.diskmap import draw

    with examine(image, format_name, rules(folders)) as facts:
        found = draw(facts)
    if as_json:
        from b2dinspect.render import diskmap as render
        from b2dinspect.render import json

        print(json.dumps(render.picture_json(facts.path, found)))  # noqa: T201
    elif svg or html:
        from b2dinspect.newfile import NewFile
        from b2dinspect.render import svg as drawing

        title = f"b2dinspect map {facts.path}"
        for target, make in ((svg, drawing.picture), (html, drawing.page)):
            if target is not None:
                with NewFile(target, force=force) as file:
                    file.pwrite(0, make(found, title).encode("utf-8", "replace"))
    else:
        from b2dinspect.render import diskmap as render

        out(*render.picture(found))
