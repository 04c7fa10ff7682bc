"""Objects for what does not fit a message or a record: `base` (the interface), `s3`, `memory`."""
