"""The events of a provision, as lines of JSON: ``provisioning.story`` reads them again."""

from __future__ import annotations

import json

from b2dinspect.provisioning.events import Decoded, Done, Event

SCHEMA_VERSION = 1


def event_json(happened: Event) -> str:
    """Return one event as one line of JSON; see schemas/provision.schema.json."""
    fields = happened._asdict()
    if isinstance(happened, Done):
        fields["writes"] = [write._asdict() | {"head": write.head.hex()} for write in happened.writes]
    elif isinstance(happened, Decoded):
        from b2dinspect.render.json import region

        fields["parts"] = [part._asdict() for part in happened.parts]
        fields["marks"] = [part._asdict() for part in happened.marks]
        fields["regions"] = [region(one) for one in happened.regions]
    name = type(happened).__name__.lower()
    return json.dumps({"schema_version": SCHEMA_VERSION, "event": name, **fields})
