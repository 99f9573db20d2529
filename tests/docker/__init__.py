"""Tests of what container engines leave on a disk."""
