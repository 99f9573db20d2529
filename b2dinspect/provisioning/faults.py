"""Ways to break a provision on purpose. The pipeline goes on as the real guest would.

The incidents are those of real life: docker-machine's and minikube's issues describe each of them.
"""

from __future__ import annotations

from b2dinspect.records import NamedTuple


class Fault(NamedTuple):
    """One way.

    Attributes:
        name: As ``--fault`` takes it.
        sentence: What goes wrong.
        on_disk: Whether the disk shows it, so that ``build`` can make it.
        stage: Id of the stage in which it happens.
    """

    name: str
    sentence: str
    on_disk: bool
    stage: str


FAULTS: dict[str, Fault] = {
    fault.name: fault
    for fault in (
        Fault("truncated-key", "the public key is cut in the middle before the tar is made", True, "tar"),
        Fault("many-keys", "other keys come before the owner's: 4096 bytes do not reach it", True, "tar"),
        Fault("no-magic", "one byte of the marker is wrong", True, "tar"),
        Fault("interrupted-create", "the disk is left at 10 MiB: create was interrupted", True, "disk"),
        Fault(
            "old-iso", "the guest knows nothing of userdata: the disk is never touched", True, "find-label"
        ),
        Fault("mkfs-skipped", "mkfs.ext4 never ran: a table, but no filesystem", True, "mkfs"),
        Fault("wrong-label", "the filesystem was made with another label", True, "mkfs"),
        Fault(
            "crash-before-move", "power fails after mkfs, before userdata.tar is on the disk", True, "fill"
        ),
        Fault("userdata-lost", "userdata.tar is deleted between the boots", True, "between-boots"),
        Fault("unclean", "the machine is switched off without unmounting", True, "between-boots"),
        Fault("key-regenerated", "id_rsa is made anew after the disk was made", False, "machine"),
        Fault("key-mode", "id_rsa can be read by others (0644)", False, "machine"),
        Fault(
            "key-moved", "the machine directory was moved: config.json names the old place", False, "machine"
        ),
        Fault("config-cut", "the host's disk was full: config.json is cut short", False, "machine"),
    )
}
