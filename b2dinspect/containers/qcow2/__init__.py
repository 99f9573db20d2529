r"""qcow2, the format of qemu, in which minikube's qemu2 driver keeps its disks.

Layout (all integers big-endian, all offsets in bytes and on cluster boundaries)::

    0          header            "QFI\xfb", version, cluster size, virtual size, where the rest is
    behind it  extensions        type, length, data; then the backing file's name
    anywhere   refcount table    one 64-bit offset a refcount block
               refcount blocks   how often each cluster of the file is used
               L1 table          one 64-bit entry an L2 table
               L2 tables         one 64-bit entry (or 128, with subclusters) a cluster of the disk
               snapshot table    of the internal snapshots, each with an L1 table of its own
               clusters          data, or several compressed ones one behind the other

Cluster ``n`` of the disk is entry ``n % (cluster size / 8)`` of the L2 table that entry
``n / (cluster size / 8)`` of the L1 table points to. An empty entry is a cluster that is not stored: zeros,
or the backing file's content.

Source: qemu, docs/interop/qcow2.txt, for all of it; block/qcow2.c for the limits that are kept here (an L1
table of 32 MiB, cluster sizes of 512 bytes to 2 MiB), and experiment with qemu 7.2: bare deflate streams, a
file that ends inside its last cluster (the rest is zeros), host offset 0 in an external data file.
"""

from __future__ import annotations

from b2dinspect.containers.formats import Format, Probe, probe_signature
from b2dinspect.source import ByteSource

SIGNATURE = b"QFI\xfb"


def probe(file: ByteSource) -> Probe:
    """Tell whether the file begins with the signature, and is not of version 1, which is another format."""
    if file.pread(0, 8) == SIGNATURE + b"\0\0\0\1":
        return Probe(
            False, "qcow of version 1, which is not read; convert it first (qemu-img convert -f qcow)"
        )
    return probe_signature(file, 0, SIGNATURE)


def trace(file: ByteSource) -> str:
    """Tell of a refcount table behind a header that is gone, as qemu-img puts it: in the second cluster."""
    for bits in range(9, 22):
        cluster = 1 << bits
        first = int.from_bytes(file.pread(cluster, 8), "big")
        if first == 2 * cluster and int.from_bytes(file.pread(first, 2), "big") == 1:
            return f"what stands at byte {cluster:#x} is a refcount table of clusters of {cluster} bytes"
    return ""


FORMAT = Format(
    "qcow2",
    __name__,
    "Qcow2Container",
    probe,
    suffixes=("qcow2",),
    qemu_names=("qcow2",),
    qemu_backs=True,
    is_written=True,
    trace=trace,
)
