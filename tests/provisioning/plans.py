"""Plans for the tests, and what came of performing them."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from b2dinspect.guests import profile_named
from b2dinspect.provisioning.events import Done, Event, Finished
from b2dinspect.provisioning.host.drivers import DRIVERS
from b2dinspect.provisioning.keypair import KeyPair, make_key
from b2dinspect.provisioning.stages import Plan

MIB = 1 << 20
SIZE = 1200 * MIB
GUESTS = ("automount", "autoformat", "minikube")


@functools.cache
def key_pair() -> KeyPair:
    """Return one key pair for the whole session."""
    return make_key()


def plan(folder: Path, guest: str = "autoformat", **changes: Any) -> Plan:
    """Return a plan for a small VDI machine called default."""
    usual = {"format": "vdi", "size": SIZE, "key": key_pair(), "driver": DRIVERS["vfkit"]}
    return Plan(name="default", profile=profile_named(guest), folder=folder, **(usual | changes))


class Story(NamedTuple):
    """What happened."""

    events: list[Event]

    @property
    def done(self) -> dict[str, Done]:
        """How each stage ended."""
        return {event.id: event for event in self.events if isinstance(event, Done)}

    @property
    def failed(self) -> list[str]:
        """The stages that failed, in order."""
        return [event.id for event in self.events if isinstance(event, Done) and event.status == "failed"]

    @property
    def texts(self) -> list[str]:
        """What went in and came out."""
        return [event.text for event in self.events if hasattr(event, "text")]

    @property
    def end(self) -> Finished:
        """The last event."""
        last = self.events[-1]
        assert isinstance(last, Finished)
        return last


def tell(events: Iterable[Event]) -> Story:
    """Return the story of some events, to their end."""
    return Story(list(events))
