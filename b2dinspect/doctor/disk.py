"""What is odd about one disk, seen without its machine. Each check takes the facts and yields findings."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from b2dinspect.findings import Finding, Severity
from b2dinspect.guests import DATA_LABEL
from b2dinspect.inspection.facts import DataChoice, Inspection, Source, Userdata
from b2dinspect.inspection.keys import KEY_FILES, MAX_KEY_LINES, key_file
from b2dinspect.inspection.login import deciding_keys
from b2dinspect.inspection.state import written_over
from b2dinspect.inspection.volumes import Volume
from b2dinspect.records import NamedTuple
from b2dinspect.units import listed
from b2dinspect.userdata.tarball import AUTHORIZED_KEYS, AUTHORIZED_KEYS2, GUEST_KEEPS, MAGIC, Tarball

DiskCheck = Callable[[Inspection], Iterator[Finding]]


class Expected(NamedTuple):
    """What is known of a disk from its machine.

    Attributes:
        marker: Whether the driver writes a marker to an empty disk.
        is_ours: Whether its layout is a guest's though its label is not, so that it is nobody else's disk.
        is_machines: Whether it is the disk of a machine directory.
    """

    marker: bool = True
    is_ours: bool = False
    is_machines: bool = False


UNKNOWN = Expected()
"""Of a disk without its machine."""


def structures(facts: Inspection) -> Iterator[Finding]:
    """Pass on what the container, the table and the filesystems say of themselves."""
    yield from facts.container.findings
    yield from facts.table.findings
    for volume in (*facts.volumes, *facts.living):
        yield from volume.findings
    yield from facts.problems


def unseen_table(facts: Inspection) -> Iterator[Finding]:
    """Say first who would format a disk of whose table some is left; a marker over it has its own words."""
    if facts.table.unseen and facts.table.partitions and not facts.magic.found:
        end = "none finds its data"
        if facts.formatters:
            end = f"{listed(facts.formatters)} will format the disk at the next boot"
        text = f"no guest sees the partition table that is left: {end}"
        yield Finding("table-unseen", "error", text, 0)


def state(facts: Inspection, expected: Expected = UNKNOWN) -> Iterator[Finding]:
    """Say when the disk is in a state from which nobody logs in."""
    if facts.state == "blank" and expected.marker:
        if facts.ownership.sure == "certain":
            yield Finding("disk-blank", "error", f"the disk is blank, so no key is on it: {facts.reason}", 0)
        else:
            text = f"the disk seems blank, as far as it was looked at: {facts.reason}"
            yield Finding("disk-seems-blank", "error", text, 0)
    elif facts.state == "foreign" and not expected.is_ours:
        severity: Severity = "error" if expected.is_machines else "warning"
        yield Finding("disk-foreign", severity, f"this is no boot2docker disk: {facts.reason}")
    elif facts.state == "partitioned" and facts.ownership.owner == "unknown" and not expected.is_machines:
        text = f"nothing says that this is a boot2docker disk: {facts.reason}"
        yield Finding("disk-foreign", "warning", text)
    elif facts.state == "partitioned" and not any(one.number == 1 for one in facts.table.partitions):
        text = f"{facts.reason}, and there is no partition 1, on which a guest makes it"
        yield Finding("partition-none", "error", text)
    elif facts.state == "partitioned":
        text = f"{facts.reason}: it was not made yet, or mkfs failed; the guest then lives in RAM"
        yield Finding("filesystem-none", "error", text)


def marker(facts: Inspection) -> Iterator[Finding]:
    """Weigh the marker at byte 0 against the rest of the disk."""
    magic = facts.magic
    if facts.ownership.owner == "other" or (facts.ownership.owner == "unknown" and magic.found):
        yield from _marker_on_foreign(facts)
        return
    if magic.damaged_at and not _has_content(facts):
        at = magic.damaged_at[0]
        text = (
            f"the marker at byte 0 is damaged: byte {at} is {magic.data[at]:#04x} instead of {MAGIC[at]:#04x}"
            "; no guest takes this disk for its own, and the 18.09 guest would format it"
        )
        yield Finding("magic-damaged", "error", text, at)
    elif magic.copy_offset is not None and not _has_content(facts) and facts.state == "damaged":
        yield Finding("magic-damaged", "error", facts.reason, 0)
    if _is_worth_saving(facts) and facts.ownership.is_seen:
        guests = listed(facts.formatters)
        outcome = f"{guests} will format it at the next boot" if guests else "no guest finds its data"
        found = ", ".join(f"{one.filesystem} at sector {one.partition.start}" for one in facts.living)
        text = f"no partition table lists {found}: the disk was used before, and {outcome}; work on a copy"
        first = next((one for one in facts.living if one.filesystem != "swap"), facts.living[0])
        if _is_overwritten(facts, first):
            text = (
                f"{_place(facts, first)} was {first.filesystem}, and {written_over(facts.volumes, first)} "
                f"was written over its beginning: {outcome}; work on a copy"
            )
        yield Finding(_what_is_gone(facts, first), "error", text, first.sign)
    for number in magic.in_partitions:
        text = (
            f"the marker is at the start of partition {number}, not at byte 0 of the disk: "
            "an image was written into a partition, and no guest looks there"
        )
        where = next(one.offset for one in facts.table.partitions if one.number == number)
        yield Finding("magic-in-partition", "error", text, where)
    if magic.is_alone and facts.state == "fresh":
        text = (
            "the marker is alone at byte 0, as boot2docker-cli wrote it: no tar is behind it, so a guest "
            "formats the disk and takes no key from it; no login by key is possible"
        )
        yield Finding("marker-alone", "error", text, 0)
    if magic.found:
        yield from _marker_at_start(facts)


def _has_content(facts: Inspection) -> bool:
    """Tell whether something is on the disk that a marker would have a guest format."""
    return facts.table.kind != "none" or bool(facts.volumes or facts.living)


def _is_overwritten(facts: Inspection, volume: Volume) -> bool:
    """Tell whether a guest would look where a living filesystem begins, and sees something else there."""
    return volume.partition.start in (0, *(part.start for part in facts.table.partitions))


def _place(facts: Inspection, volume: Volume) -> str:
    """Return where a living filesystem begins, as the table has it."""
    parts = (part for part in facts.table.partitions if part.start == volume.partition.start)
    return next((part.place for part in parts), volume.partition.place)


def _what_is_gone(facts: Inspection, volume: Volume) -> str:
    """Return the id of the finding: what fills a disk never had a table; a table may name other places."""
    if _is_overwritten(facts, volume):
        return "filesystem-overwritten"
    has_table = facts.table.kind in ("mbr", "gpt") and not facts.table.unseen
    return "table-differs" if has_table else "table-gone"


def _is_worth_saving(facts: Inspection) -> bool:
    """Tell whether more than swap lives where no table names it; without a table, swap is a trace of one."""
    return any(one.filesystem != "swap" for one in facts.living) or bool(
        facts.living and facts.table.kind == "none"
    )


def _marker_at_start(facts: Inspection) -> Iterator[Finding]:
    """Weigh a whole marker on a disk that is nobody else's."""
    if facts.table.kind == "none":
        if facts.state == "damaged" and not facts.living:
            yield Finding("magic-over-data", "error", facts.reason, 0)
        return
    if facts.table.unseen:
        if facts.formatters:
            text = (
                "the marker is at byte 0, and no guest sees the partition table: "
                f"{listed(facts.formatters)} will format the disk at the next boot"
            )
            yield Finding("magic-over-data", "error", text, 0)
        return
    if facts.data is not None and facts.data.by == "label":
        if facts.guest.profile == "automount":
            return  # busybox's fdisk always leaves it there
        text = (
            "the marker is still at byte 0 beside a partition table; "
            "the label is looked for first, so it is inert"
        )
        yield Finding("magic-inert", "info", text, 0)
    else:
        text = (
            "the marker is at byte 0 beside a partition table, and nothing is labelled boot2docker-data: "
            "the 18.09 guest would format this disk"
        )
        yield Finding("magic-beside-table", "warning", text, 0)


def _marker_on_foreign(facts: Inspection) -> Iterator[Finding]:
    """Weigh a marker on somebody else's disk, and say what of ours lives below a filesystem of theirs."""
    if facts.ownership.evidence and (ours := [one for one in facts.living if one.label == DATA_LABEL]):
        seems = facts.ownership.seems[0].what if facts.ownership.seems else "another filesystem"
        text = (
            f"{seems} was made over a boot2docker disk, whose {ours[0].filesystem} still begins at sector "
            f"{ours[0].partition.start}: what was not written over can be saved; work on a copy"
        )
        yield Finding("filesystem-overwritten", "error", text, ours[0].sign)
    if facts.magic.found and facts.formatters:
        whose = (
            "somebody else's disk"
            if facts.ownership.seems
            else "a disk with files that are not boot2docker's"
        )
        guests = listed(facts.formatters)
        text = f"the marker is at byte 0 of {whose}: {guests} will format it at the next boot; do not boot it"
        yield Finding("magic-over-data", "error", text, 0)


def _takers(data: DataChoice) -> str:
    return f"only {listed(data.takers)}" if data.takers else "no guest"


def label(facts: Inspection) -> Iterator[Finding]:
    """Look at how the data partition is found."""
    data = facts.data
    if facts.state != "provisioned" or data is None:
        return
    if data.by == "fallback":
        text = (
            f"{data.volume.partition.place} holds the data but is labelled "
            f"{data.volume.label.decode('latin-1')!a}, not {DATA_LABEL.decode()!r}; "
            f"{_takers(data)} would mount it all the same"
        )
        yield Finding("label-missing", "error", text, data.volume.label_place)
    if data.others:
        numbers = ", ".join(str(volume.partition.number) for volume in (data.volume, *data.others))
        text = (
            f"several partitions carry the label boot2docker-data ({numbers}): the guest mounts any of them"
        )
        yield Finding("label-several", "error", text, data.volume.label_place)


def userdata(facts: Inspection) -> Iterator[Finding]:
    """Look for the tar that must be on a provisioned disk, and at how each one ends."""
    if (
        facts.state == "provisioned"
        and facts.data
        and facts.data.volume.is_ext
        and not facts.effective
        and not facts.problems
    ):
        text = "the data partition has no var/lib/boot2docker/userdata.tar: no key is unpacked at boot"
        if facts.has_old_layout and facts.guest.profile == "automount":
            text = (
                "the data partition has a directory vm, which is /var/lib/boot2docker for automount, and no "
                "userdata.tar in it: no key is unpacked at boot"
            )
        yield Finding("userdata-missing", "error", text, facts.data.volume.sign)
    for item in facts.userdata:
        if not _counts(facts, item.source):
            continue
        for finding in item.tar.findings:
            virtual, _ = item.locate(finding.offset or 0)
            yield finding._replace(offset=virtual)
        yield from _cut(facts, item)


def _counts(facts: Inspection, source: Source) -> bool:
    """Tell whether a guest would unpack that tar. One that a table was written over may be broken."""
    return source == "data" or (source == "fresh" and facts.state != "provisioned")


def _cut(facts: Inspection, item: Userdata) -> Iterator[Finding]:
    """Say which entries end after the bytes that the guest keeps, or kept, and which keys that costs."""
    tar = item.kept or item.tar
    for name in KEY_FILES:
        missing = _missing(tar, item.tar, name)
        if not missing:
            continue
        if item.kept is None:
            text = f"{name.decode()} lacks its last {missing} bytes, as the tar was cut after {item.size}"
        else:
            text = f"the guest keeps only {GUEST_KEEPS} bytes: {name.decode()} loses its last {missing} bytes"
        entry = tar.find(name)
        at = item.locate(entry.offset + entry.available if entry else GUEST_KEEPS)[0]
        yield _cost(facts, item, name, Finding("userdata-cut", "info", text, at))


def _cost(facts: Inspection, item: Userdata, name: bytes, cut: Finding) -> Finding:
    """Complete the finding about a cut file: an error when a key is lost that nothing else holds."""
    here = [key for key in facts.keys if key.tar is item]
    whole = {key.line.key for key in here if key.is_accepted}
    lost = {key.line.key for key in here if key.file == name.decode() and not key.is_accepted} - whole
    if name != AUTHORIZED_KEYS:  # a copy: what the first file lost was told, and a broken line tells no key
        lost -= {None, *(key.line.key for key in here if key.file == AUTHORIZED_KEYS.decode())}
    if whole and not lost:
        return cut._replace(message=f"{cut.message}, which is harmless: that loses no key of its own")
    count = (
        f"{len(whole)} key{'s' * (len(whole) != 1)} before the cut still can" if whole else "no key is whole"
    )
    text = f"{cut.message}: the keys in them cannot log in; {count}"
    return cut._replace(id="userdata-cut-login", severity="error", message=text)


def _missing(tar: Tarball, promised: Tarball, name: bytes) -> int:
    """Return how many bytes of a file the cut took; all of them when its header fell to it."""
    entry, whole = tar.find(name), promised.find(name)
    if entry:
        return entry.missing
    return whole.size if whole else 0


def keys(facts: Inspection) -> Iterator[Finding]:
    """Look at the keys that decide, and at the lines that sshd would skip."""
    if facts.state in ("fresh", "provisioned") and facts.effective:
        if not _is_readable(facts.effective):
            return
        if not deciding_keys(facts):
            text = "no line of authorized_keys is a key that sshd would accept: nobody can log in"
            yield Finding("key-none", "error", text, facts.effective.virtual_offset)
        elif not deciding_keys(facts, AUTHORIZED_KEYS):
            text = ".ssh/authorized_keys holds no valid key; login depends on .ssh/authorized_keys2"
            yield Finding("key-only-in-second", "warning", text, facts.effective.virtual_offset)
    for item in facts.userdata:
        yield from _many_lines(item)
    for key in facts.keys:
        where = f"{key.file} line {key.line.number} of the {key.source} userdata"
        if not key.line.valid and _counts(facts, key.source):
            yield Finding("key-broken", "warning", f"{where} is not accepted: {key.line.error}")
        elif key.refusal and _counts(facts, key.source):
            yield Finding("key-refused", "warning", f"{where}: {key.refusal}")


def _is_readable(item: Userdata) -> bool:
    return all(extent.kind != "missing" for extent in item.content.extents(0, item.size))


def _many_lines(item: Userdata) -> Iterator[Finding]:
    for name in (AUTHORIZED_KEYS, AUTHORIZED_KEYS2):
        entry = item.tar.find(name)
        if entry and key_file(item, entry).rstrip(b"\n").count(b"\n") >= MAX_KEY_LINES:
            text = f"{name.decode()} has more than {MAX_KEY_LINES} lines; the rest is not shown"
            yield Finding("keys-many", "warning", text, item.locate(entry.offset)[0])


def same_keys(facts: Inspection) -> Iterator[Finding]:
    """Compare the two key files with each other, and the first key with the one in force."""
    deciding = facts.effective
    if deciding is None:
        return
    first, second = _accepted(facts, deciding, AUTHORIZED_KEYS), _accepted(facts, deciding, AUTHORIZED_KEYS2)
    is_cut = _is_cut(deciding.kept or deciding.tar)
    if first != second and deciding.tar.find(AUTHORIZED_KEYS2) and not is_cut:
        text = "authorized_keys and authorized_keys2 hold different keys; sshd accepts those of both"
        yield Finding("keys-differ", "warning", text, deciding.virtual_offset)
    residue = facts.of_source("residue")
    if residue is not None and deciding is not residue:
        original = _accepted(facts, residue, AUTHORIZED_KEYS)
        if original and not original & (first | second):
            text = (
                "the residue of the original tar holds another key: "
                "the machine's key was replaced since its creation"
            )
            yield Finding("key-replaced", "info", text, residue.virtual_offset)


def _accepted(facts: Inspection, item: Userdata, name: bytes) -> set[bytes]:
    return {
        key.line.key.identity
        for key in facts.keys
        if key.tar is item and key.file == name.decode() and key.is_accepted and key.line.key
    }


def _is_cut(tar: Tarball) -> bool:
    entry = tar.find(AUTHORIZED_KEYS2)
    return entry is None or bool(entry.missing)


CHECKS: tuple[DiskCheck, ...] = (marker, label, userdata, keys, same_keys)
"""In the order in which they find the cause soonest: from the outside in."""


def examine(facts: Inspection, expected: Expected = UNKNOWN) -> list[Finding]:
    """Return all findings about a disk, gravest first; then what is to be saved, and as the checks go."""
    order = {"error": 0, "warning": 1, "info": 2}
    at_once = [*unseen_table(facts), *(marker(facts) if facts.living else ())]
    found = [*at_once, *structures(facts), *state(facts, expected)]
    found += [finding for check in CHECKS for finding in check(facts)]
    return sorted(dict.fromkeys(found), key=lambda item: order[item.severity])
