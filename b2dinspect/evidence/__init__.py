"""From a path to bytes, opened and owned: files, packed files, archives, and all that a disk stands on."""
