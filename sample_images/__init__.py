"""Sample disks, each showing one thing, and the recipes that rebuild them byte for byte."""
