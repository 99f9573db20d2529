"""The guest played in this process: table, filesystem, home directory and an embedded sshd."""
