"""Mutated inputs of every kind, through every command that inspects. See ``__main__``."""
