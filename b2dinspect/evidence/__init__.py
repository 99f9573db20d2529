"""From what the user names to bytes, opened and owned. Whoever opens a file closes it.

file      a file, block device, packed file or standard input -> FileSource, which owns its descriptor
packing   how a file is packed, and its content, unpacked
spool     a stream -> FileSource on a nameless temporary file with holes
ova       which part of an OVA is the disk: a window, opened by nobody
pieces    which files are the pieces of a disk that was cut
roots     which files may be opened because an image names them
vbox      what NAME.vbox says of disks
chain     an image and all it stands on -> OpenDisk, which owns every file opened for it
"""
