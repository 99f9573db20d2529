"""Facts drawn for people and programs. Renderers parse nothing and open nothing."""
