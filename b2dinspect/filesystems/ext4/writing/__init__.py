"""Writing ext4: a new one as mke2fs makes it, and changes in one that is there.

What inspects imports nothing of it.
"""
