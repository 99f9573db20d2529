"""Every call that writes is killed or fails once: the old state is left, or the new one."""
