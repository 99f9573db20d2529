"""Which bytes lead to which kind, and what looks at the place where they stand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from b2dinspect.filesystems import swap
from b2dinspect.partitions import gpt
from b2dinspect.records import NamedTuple
from b2dinspect.search import configs, keys, places, tars
from b2dinspect.search.facts import Find, Kind
from b2dinspect.search.scene import Scene
from b2dinspect.source import SECTOR
from b2dinspect.userdata.private_key import OPENSSH_MAGIC

Look = Callable[[Scene, int], Iterator[Find]]
"""Given a byte of the disk at which a literal stands, yields what that is."""


class Looker(NamedTuple):
    """One way to a find.

    Attributes:
        kinds: What it can find.
        literal: Bytes that lead there.
        look: See ``Look``.
        within: The byte of a sector at which the literal counts; None for any.
    """

    kinds: tuple[Kind, ...]
    literal: bytes
    look: Look
    within: int | None = None


_PUBLIC: tuple[Kind, ...] = ("public-key", "host-key")
_PRIVATE: tuple[Kind, ...] = ("private-key", "host-key")

LOOKERS = (
    *(Looker(("marker",), one, tars.marker) for one in tars.MARKERS),
    *(Looker(("tar-entry",), one, tars.entry) for one in (*tars.MARKERS, *tars.NAMES)),
    *(Looker(_PUBLIC, one, keys.public_key) for one in keys.PUBLIC),
    Looker(_PRIVATE, keys.PEM, keys.pem_key),
    Looker(_PRIVATE, keys.OPENSSH_BASE64, keys.openssh_base64),
    Looker(_PRIVATE, OPENSSH_MAGIC, keys.openssh_binary),
    *(Looker(_PRIVATE, one, keys.rsa_der) for one in keys.RSA_DER),
    Looker(_PRIVATE, keys.EC_DER, keys.ec_der),
    Looker(_PRIVATE, keys.EC_PKCS8_DER, keys.pkcs8_der),
    Looker(_PRIVATE, keys.ED25519_DER, keys.pkcs8_der),
    Looker(("config",), configs.VERSION, configs.config),
    *(Looker(("superblock",), one.data, places.other, one.offset % SECTOR) for one in places.SIGNATURES),
    Looker(("swap",), swap.SIGNATURE, places.swap_header),
    Looker(("table",), gpt.SIGNATURE, places.gpt_table),
    Looker(("marker",), places.SEED, places.seed_label),
    Looker(("marker",), places.SEED.upper(), places.seed_label),
)
SECTORS = {
    "ext": Looker(("superblock",), b"", places.ext),
    "mbr": Looker(("table",), b"", places.mbr_table),
}
"""What is known by two bytes of a sector: see ``places.sectors``."""


def lookers_for(kinds: Iterable[Kind]) -> list[Looker]:
    """Return those that find any of these kinds, each once."""
    wanted = {*kinds}
    return [*dict.fromkeys(one for one in LOOKERS if wanted.intersection(one.kinds))]
