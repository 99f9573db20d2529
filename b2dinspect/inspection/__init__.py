"""The walk through one disk, from the container to the keys: facts only."""
