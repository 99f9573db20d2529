"""The way out for files: members, one after the other, into a folder of the host or into a tar.

What comes out of a filesystem, or of a container's layers put together, is a stream of ``members``; ``host``
and ``tar`` take it. Neither keeps more than a directory of it in memory.
"""
