"""Storage of arguments and results that are too large for a message or a record."""
