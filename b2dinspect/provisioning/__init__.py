"""The companion that makes disks: every step of a provision, from the key pair to the login.

Stages are small functions from state to state that yield events; nothing in here prints.
"""
