"""The guest as a real Linux in QEMU."""
