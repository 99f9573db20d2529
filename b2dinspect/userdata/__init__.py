"""The userdata tar and the keys in it."""
