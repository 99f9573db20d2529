"""Filesystems: ext2, ext3 and ext4 in full, swap by its header."""
