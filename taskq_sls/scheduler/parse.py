"""The public words for when something runs: `cron`, `rate` and `at`, and reading them back from a store."""

from __future__ import annotations

from ..errors import ConfigError
from .at import At
from .cron import Cron
from .expressions import When
from .moments import Moment
from .rate import Rate

__all__ = ["at", "cron", "parse", "rate"]

cron = Cron
rate = Rate
at = At


def parse(
    expression: str,
    timezone: str = "UTC",
    start: Moment | None = None,
    end: Moment | None = None,
    window: int = 0,
    jitter: int = 0,
) -> When:
    """Read EventBridge Scheduler's text: ``cron(...)``, ``rate(...)`` or ``at(...)``.

    Args:
        start, end: as in `cron`; for ``at(...)`` they are ignored, as EventBridge does.

    Raises:
        ConfigError: it is none of these, or one of them with a fault.
    """
    kind, bracket, _ = expression.partition("(") if isinstance(expression, str) else ("", "", "")
    if bracket and expression.endswith(")"):
        if kind == "cron":
            return Cron(expression, timezone=timezone, start=start, end=end, window=window, jitter=jitter)
        if kind == "rate":
            return Rate(expression, timezone=timezone, start=start, end=end, window=window, jitter=jitter)
        if kind == "at":
            return At(expression, timezone=timezone, window=window, jitter=jitter)
    raise ConfigError(f"{expression!r} is no expression; give cron(...), rate(...) or at(...)")
