"""What is left on a disk when nothing names it any more: keys, tars, superblocks, found by their own bytes.

facts     a hit: what it is, where, how sure, and whose block it is in
stored    what a disk stores, as windows of neighbouring bytes, read ahead by threads
engine    where literals stand in bytes: yara-x, or a slower search of this package that finds the same
kinds     which literals lead to which kind, and what looks at the place where one stands
keys, tars, places, configs   that look: bytes around a literal -> what it is, or nothing
patterns  what the user asks for: bytes, a regular expression, a key's fingerprint
owners    a byte of the disk -> partition and file, by the filesystem's own tables, asked for hits alone
scan      all of it, a hit at a time
merge     the same hit in many places, told once
carving   what of a hit can be a file
"""
