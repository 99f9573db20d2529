"""Disks and broken machines that are made again byte for byte."""
