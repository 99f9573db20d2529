"""What a search found: an object of JSON a line, and a table of things with their places."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from b2dinspect.render.docker import Sheet
from b2dinspect.render.json import SCHEMA_VERSION
from b2dinspect.render.text import as_text, size
from b2dinspect.search.facts import Hit, Place, Totals
from b2dinspect.search.merge import Merger, Thing

SHOWN_PLACES = 3


def line(document: dict[str, Any]) -> str:
    """Return a document as one line of ASCII-only JSON."""
    return json.dumps(document)


def hit_json(path: str, hit: Hit) -> dict[str, Any]:
    """Return the object of one hit."""
    find = hit.find
    return {
        "kind": find.kind,
        "image": path,
        "virtual_offset": find.offset,
        "file_offset": hit.file_offset,
        "cluster_offset": hit.cluster_offset,
        "length": find.length,
        "sure": find.sure,
        "what": find.what,
        "fingerprint_sha256": find.fingerprint or None,
        "comment": find.comment or None,
        "in_force": hit.in_force,
        "place": _place_json(hit.place),
        "same_as": hit.same_as,
    }


def _place_json(place: Place) -> dict[str, Any]:
    path = None if place.path is None else place.path.decode("utf-8", "surrogateescape")
    return {"partition": place.partition, "path": path, "area": place.area, "inode": place.inode}


def summary_json(images: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the last object."""
    return {
        "kind": "summary",
        "schema_version": SCHEMA_VERSION,
        "complete": all(one["complete"] for one in images),
        "hits": sum(one["hits"] for one in images),
        "images": [*images],
    }


def image_json(
    path: str, merged: Merger, totals: Totals, engine: str, carved: Sequence[str]
) -> dict[str, Any]:
    """Return what the last object says of one image."""
    return {
        "image": path,
        "complete": totals.is_complete,
        "engine": engine,
        "bytes_searched": totals.searched,
        "bytes_missing": totals.missing,
        "hits": sum(merged.counts.values()),
        "kinds": dict(sorted(merged.counts.items())),
        "left_out": dict(totals.left_out),
        "things": [_thing_json(thing) for thing in merged.things()],
        "carved": [*carved],
        "error": None,
    }


def failed_json(path: str, error: str) -> dict[str, Any]:
    """Return the same of an image that could not be searched."""
    return {"image": path, "complete": False, "hits": 0, "error": error}


def _thing_json(thing: Thing) -> dict[str, Any]:
    find = thing.first.find
    return {
        "kind": find.kind,
        "what": find.what,
        "sure": find.sure,
        "fingerprint_sha256": find.fingerprint or None,
        "in_force": thing.first.in_force,
        "times": thing.times,
        "virtual_offsets": [hit.find.offset for hit in thing.places],
    }


def sheet(title: str, things: Iterable[Thing]) -> Sheet:
    """Return the table of what was found, each thing once."""
    return Sheet(
        title, ["KIND", "SURE", "WHAT", "IN FORCE", "OFFSET", "PLACE"], [_row(one) for one in things]
    )


def _row(thing: Thing) -> list[str]:
    find = thing.first.find
    what = find.what + (f' "{find.comment}"' if find.comment and find.comment not in find.what else "")
    if find.fingerprint:
        what += f" {find.fingerprint}"
    in_force = "" if thing.first.in_force is None else "yes" if thing.first.in_force else "no"
    shown = thing.places[:SHOWN_PLACES]
    offsets = [f"{hit.find.offset:#x}" for hit in shown]
    places = [*dict.fromkeys(place_text(hit.place) for hit in shown)]
    if thing.times > len(shown):
        offsets.append(f"and {thing.times - len(shown)} more")
    return [find.kind, find.sure, what, in_force, ", ".join(offsets), "; ".join(places)]


def place_text(place: Place) -> str:
    """Return whose a byte is, in a few words."""
    where = "" if place.partition is None else f" of partition {place.partition}" if place.partition else ""
    named = as_text(place.path) if place.path is not None else f"inode {place.inode}" if place.inode else ""
    if place.area == "file":
        return f"{named}{where}"
    if place.area == "slack":
        return f"behind the end of {named}{where}"
    words = {
        "gap": "in no partition",
        "unallocated": "unallocated",
        "filesystem": "the filesystem's own",
        "unknown": "not told",
    }
    return words.get(place.area, place.area) + where


def end_text(path: str, merged: Merger, totals: Totals) -> str:
    """Return what was searched, in a sentence."""
    count = sum(merged.counts.values())
    text = f"{path}: {count} hit{'s' * (count != 1)} in {size(totals.searched)} stored"
    return text if totals.is_complete else f"{text}, interrupted"


def shortcomings(merged: Merger, totals: Totals) -> Iterable[str]:
    """Yield what was not searched, or not told."""
    if totals.missing:
        yield f"{totals.missing} bytes are not in this evidence, or cannot be read: not searched"
    for kind, times in totals.left_out:
        yield f"{times} more places that may be of the kind {kind} were not looked at: there are too many"
    if merged.unkept:
        yield f"{merged.unkept} more hits were not compared with others: there are too many"
