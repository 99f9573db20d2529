"""b2dinspect: an educational forensic toolkit for boot2docker disks.

A boot2docker machine lets its owner in over ssh without a password because the host wrote a tar with
the public key at byte 0 of an empty disk, and the guest found it there at its first boot. This package
reads such disks, at every layer from the container file down to the key, and never writes to them.
"""

__version__ = "0.1.0"
