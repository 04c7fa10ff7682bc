"""Lambda entry points of the reference app."""
