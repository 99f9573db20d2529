"""Certificates for the tests, made once a session."""

from __future__ import annotations

import functools

from b2dinspect.identity import Identities
from b2dinspect.provisioning.host.certificates import Issued, Maker

HOSTS = ("192.168.99.100", "localhost")


@functools.cache
def maker(seed: str = "tests") -> Maker:
    """Return a maker whose keys are those for practice, so that none must be searched for."""
    return Maker(Identities.from_seed(seed), "ann")


@functools.cache
def authority() -> Issued:
    return maker().authority()


@functools.cache
def client() -> Issued:
    return maker().client(authority())


@functools.cache
def server() -> Issued:
    return maker().server(authority(), "default", HOSTS)
