"""What the host does: the machine directory, its key pair, the tar on a new disk."""
