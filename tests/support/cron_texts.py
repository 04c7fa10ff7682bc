"""Random cron expressions of every documented form."""

from __future__ import annotations

from hypothesis import strategies as st

from taskq_sls import ConfigError
from taskq_sls.scheduler.parse import cron

MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
WEEKDAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]


def numbers(low: int, high: int, names: list[str] | None = None, *, steps: bool = True) -> st.SearchStrategy[str]:
    """A field of values, ranges, steps and lists of them."""
    value = st.integers(low, high)

    def name(number: int) -> str:
        return names[number - low] if names and number % 2 else str(number)

    def span(pair: tuple[int, int]) -> str:
        first, last = min(pair), max(pair)
        return f"{names[first - low]}-{names[last - low]}" if names and first % 2 else f"{first}-{last}"

    ranges = st.tuples(value, value).map(span)
    one = value.map(name) | ranges
    if steps:
        step = st.integers(1, max(1, (high - low) // 2)).map(str)
        one |= st.tuples(value.map(str) | ranges | st.just("*"), step).map("/".join)
    return st.just("*") | st.lists(one, min_size=1, max_size=3).map(",".join)


def days_of_month() -> st.SearchStrategy[str]:
    return numbers(1, 31) | st.just("L") | st.integers(1, 31).map("{}W".format)


def days_of_week() -> st.SearchStrategy[str]:
    day = st.integers(1, 7)
    return (
        numbers(1, 7, WEEKDAYS, steps=False)
        | st.just("L")
        | day.map("{}L".format)
        | st.tuples(day, st.integers(1, 5)).map("{0[0]}#{0[1]}".format)
    )


def fires(text: str) -> bool:
    try:
        cron(text)
    except ConfigError:  # never fires, or 31W where there is no 31st
        return False
    return True


def expressions(years: tuple[int, int] = (1970, 2199)) -> st.SearchStrategy[str]:
    """Six fields that can fire."""
    days = days_of_month().map(lambda day: (day, "?")) | days_of_week().map(lambda day: ("?", day))
    parts = st.tuples(
        numbers(0, 59), numbers(0, 23), days, numbers(1, 12, MONTHS), st.just("*") | numbers(*years, steps=False)
    )
    return parts.map(lambda one: f"{one[0]} {one[1]} {one[2][0]} {one[3]} {one[2][1]} {one[4]}").filter(fires)


def times(first: int = 0, last: int = 4_000_000_000) -> st.SearchStrategy[float]:
    """Epoch seconds of whole minutes: 1970 to 2096."""
    return st.integers(first // 60, last // 60).map(lambda minute: minute * 60.0)
