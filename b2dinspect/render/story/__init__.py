"""A provision as one page that plays it: host on the left, disk in the middle, guest on the right.

The page loads nothing. Without script, and on paper, all stages stand one below the other; the player of
``player.py`` shows them one at a time. Both languages are in it, and a style sheet hides one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from b2dinspect.provisioning.events import Console, Decoded, Done, Took, Write
from b2dinspect.provisioning.story import Scene, Story
from b2dinspect.render.annotated import annotated
from b2dinspect.render.markup import Html
from b2dinspect.render.story import player, strips, style
from b2dinspect.render.story.words import Language, sentence, word
from b2dinspect.render.text import offset, size
from b2dinspect.views.annotation import Region

MAX_LINES = 200
"""Of what came in and out of a stage; a guest's console can be long."""
MAX_WRITES = 24


def page(story: Story, language: Language = "en") -> str:
    """Return the page, which first shows itself in ``language``."""
    begin = story.scenes[0].started if story.scenes else None
    document = Html.of(
        '<!DOCTYPE html>\n<html lang="{}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">{}'
        "<title>b2dprovision: {}</title><style>{}</style></head>\n<body><main>{}{}</main>{}</body></html>\n",
        "zh-Hans" if language == "zh" else "en",
        Html.policy(player.SCRIPT),
        begin.sentence if begin else "",
        Html(style.PAGE),
        _head(story),
        Html.join(_scene(story, number) for number in range(len(story.scenes))),
        Html(player.ELEMENT),
    )
    return str(document)


def _head(story: Story) -> Html:
    marks = Html.join(
        Html.of(
            '<li><a href="#stage-{}" class="{} {}" title="{}">{}</a></li>',
            number,
            scene.started.side,
            _status(scene),
            scene.started.sentence,
            scene.started.number,
        )
        for number, scene in enumerate(story.scenes, 1)
    )
    return Html.of(
        '<header><div class="top"><h1>{}</h1>'
        '<p class="languages"><button type="button" data-language="en" lang="en">English</button> '
        '<button type="button" data-language="zh-Hans" lang="zh-Hans">中文</button></p></div>{}'
        '<nav aria-label="stages"><ol class="marks">{}</ol></nav>'
        '<p class="controls"><button type="button" data-go="first">«<span>{}</span></button> '
        '<button type="button" data-go="back">‹<span>{}</span></button> '
        '<button type="button" data-go="play" aria-pressed="false">▶<span>{}</span></button> '
        '<button type="button" data-go="on">›<span>{}</span></button> '
        '<button type="button" data-go="all" aria-pressed="false">≡<span>{}</span></button>'
        '<small class="dim">{}</small></p></header>\n',
        word("title"),
        _verdict(story),
        marks,
        *(word(name) for name in ("first", "back", "play", "on", "all", "keys")),
    )


def _verdict(story: Story) -> Html:
    failure = story.failure
    if failure is not None:
        number = story.scenes.index(failure) + 1
        reason = failure.done.reason if failure.done else ""
        return Html.of(
            '<p class="verdict error"><strong class="error">{}</strong> '
            '<a href="#stage-{}">{}. {}</a> {}</p>',
            word("dies"),
            number,
            failure.started.number,
            sentence(failure.started),
            reason,
        )
    if story.finished is None:
        return Html.of('<p class="verdict warning">{}</p>', word("broken off"))
    kind = "ok" if story.finished.logged_in else "error"
    name = "logged in" if story.finished.logged_in else "nobody"
    return Html.of('<p class="verdict {}">{}</p>', kind, word(name))


def _scene(story: Story, index: int) -> Html:
    scene = story.scenes[index]
    number, side = index + 1, scene.started.side
    acting = _acting(scene)
    idle = _past(story.scenes[:index], "guest" if side == "host" else "host")
    host, guest = (acting, idle) if side == "host" else (idle, acting)
    failed = " failed" if story.failure is scene else ""
    return Html.of(
        '<section class="scene {}{}" id="stage-{}" tabindex="-1"><h2><a href="#stage-{}">{}</a> {}</h2>'
        '<div class="stage"><div class="side host"><h3>{}</h3>{}</div>'
        '<div class="side disk"><h3>{}</h3>{}</div>'
        '<div class="side guest"><h3>{}</h3>{}</div></div>{}</section>\n',
        side,
        failed,
        number,
        number,
        scene.started.number,
        sentence(scene.started),
        word("host"),
        host,
        word("disk"),
        _disk(story, index),
        word("guest"),
        guest,
        Html.join(_bytes(scene, number)),
    )


def _acting(scene: Scene) -> Html:
    """Return what the one who acts does: the original's command, what comes in and out, how it ends."""
    shown = scene.lines[:MAX_LINES]
    parts = [Html.of('<pre class="command">{}</pre>', scene.started.command)] if scene.started.command else []
    parts += [Html.of("<dl>{}</dl>", Html.join(map(_line, shown)))] if shown else []
    if len(scene.lines) > MAX_LINES:
        parts.append(Html.of("<p>… +{}</p>", len(scene.lines) - MAX_LINES))
    done = scene.done
    if done is None:
        parts.append(Html.of('<p class="error">{}</p>', word("never ended")))
    else:
        text = Html.of(": {}", done.reason) if done.reason else Html("")
        parts.append(
            Html.of('<p class="end {}">{}{} <small>{}</small></p>', *(done.status, word(done.status), text),
                    f"{done.seconds * 1000:.0f} ms")
        )  # fmt: skip
    return Html.join(parts)


def _past(scenes: Sequence[Scene], side: str) -> Html:
    """Return what the other one has done until now."""
    items = Html.join(
        Html.of('<li class="{}">{}</li>', _status(scene), sentence(scene.started))
        for scene in scenes
        if scene.started.side == side
    )
    return Html.of('<ul class="past">{}</ul>', items)


def _line(line: object) -> Html:
    kind = "in" if isinstance(line, Took) else "console" if isinstance(line, Console) else "out"
    return Html.of("<dt>{}</dt><dd>{}</dd>", word(kind), getattr(line, "text", ""))


def _disk(story: Story, index: int) -> Html:
    """Return the disk as it is after a stage, and where the stage wrote."""
    scene = story.scenes[index]
    picture = _picture(story, index)
    writes = scene.done.writes if scene.done else ()
    if picture is None:
        return Html.of('<p class="dim">{}</p>', word("no disk"))
    lit = Html.join(strips.drawn(picture, writes, f"stage-{index + 1}"))
    if not writes:
        return lit + Html.of('<p class="dim">{}</p>', word("not written"))
    rows = Html.join(_write(write, index + 1, number) for number, write in enumerate(writes[:MAX_WRITES], 1))
    rest = writes[MAX_WRITES:]
    more = (
        Html.of("<li>… +{}, {}</li>", len(rest), size(sum(one.length for one in rest))) if rest else Html("")
    )
    return lit + Html.of('<ul class="writes">{}{}</ul>', rows, more)


def _picture(story: Story, index: int) -> Decoded | None:
    """Return the last picture of the disk that a stage made, up to one."""
    known = (scene.decoded for scene in reversed(story.scenes[: index + 1]))
    return next((one for one in known if one is not None and one.size), None)


def _write(write: Write, stage: int, number: int) -> Html:
    file = "" if write.file_offset is None else offset(write.file_offset)
    return Html.of(
        '<li id="stage-{}-write-{}"><a href="#stage-{}-bytes"><code>{}</code></a> {} {}<br>'
        '<code class="head">{}</code> <code>{}</code></li>',
        *(stage, number, stage, offset(write.virtual_offset), size(write.length)),
        Html.of("<small>{} {}</small>", word("in the file"), file) if file else Html(""),
        write.head[:16].hex(" "),
        Html.column(write.head[:16]),
    )


def _bytes(scene: Scene, stage: int) -> Iterator[Html]:
    """Yield the structures that a stage wrote, byte by byte; none for a stage that wrote none."""
    regions: Iterable[Region] = scene.decoded.regions if scene.decoded else ()
    writes = scene.done.writes if isinstance(scene.done, Done) else ()
    shown = [annotated(region, f"({stage}.{number})") for number, region in enumerate(regions, 1)] or [
        *map(_plain, writes[:MAX_WRITES])
    ]
    if shown:
        yield Html.of(
            '<details class="found" id="stage-{}-bytes"><summary>{}</summary>{}</details>',
            stage,
            word("bytes"),
            Html.join(shown),
        )


def _plain(write: Write) -> Html:
    return Html.of("<p><code>{}: {}</code></p>", offset(write.head_offset), write.head.hex(" "))


def _status(scene: Scene) -> str:
    return scene.done.status if scene.done else "failed"
