"""A museum of wrong disks: other people's, overwritten ones, half-written ones, and our own hurt ones."""
