"""The public names `cron`, `rate` and `at`, and the parser of stored expressions."""

from __future__ import annotations

from ..errors import ConfigError
from .cron import Cron
from .expressions import At, When
from .rate import Rate
from .zones import LocalTimeLike

__all__ = ["at", "cron", "parse", "rate"]

cron = Cron
rate = Rate
at = At


def parse(
    expression: str,
    timezone: str = "UTC",
    start: LocalTimeLike | None = None,
    end: LocalTimeLike | None = None,
    window: int = 0,
    jitter: int = 0,
) -> When:
    """Parse EventBridge Scheduler's text: ``cron(...)``, ``rate(...)`` or ``at(...)``.

    Args:
        start, end: as in `cron`. Ignored for ``at(...)``, as EventBridge does.

    Raises:
        ConfigError: the text is none of these, or has an error.
    """
    kind, bracket, _ = expression.partition("(") if isinstance(expression, str) else ("", "", "")
    if bracket and expression.endswith(")"):
        if kind == "cron":
            return Cron(expression, timezone=timezone, start=start, end=end, window=window, jitter=jitter)
        if kind == "rate":
            return Rate(expression, timezone=timezone, start=start, end=end, window=window, jitter=jitter)
        if kind == "at":
            return At(expression, timezone=timezone, window=window, jitter=jitter)
    raise ConfigError(f"{expression!r} is not an expression; give cron(...), rate(...) or at(...)")
