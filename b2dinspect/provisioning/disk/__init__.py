"""A disk in the making: a recording writer, an overlay, whole images put in the place of old ones."""
