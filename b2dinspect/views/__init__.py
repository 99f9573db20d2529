"""Facts put side by side for one purpose: annotated bytes, the map, a comparison, logs, search."""
