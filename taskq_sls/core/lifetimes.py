"""How long messages and records live."""

from __future__ import annotations

DAY = 86_400.0

RETENTION = 14 * DAY
"""How long SQS keeps a message, in seconds: the most it allows, provisioned everywhere."""

MIN_RESULT_TTL = RETENTION + DAY
"""Shortest life of a record, in seconds, so that it outlives every message that could ask for it."""

MAX_VISIBILITY_STEP = 11 * 3600
"""Longest visibility timeout that is asked for, in seconds: SQS counts its 12 hours from the receive. A retry that is due
later takes several steps."""
