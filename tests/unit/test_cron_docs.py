"""The page on scheduling: what it shows is so."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from taskq_sls import ConfigError, cron

PAGE = (Path(__file__).parents[2] / "docs/scheduling.md").read_text()

SECTIONS = {part.partition("\n")[0]: part for part in PAGE.split("\n## ")}

OURS = SECTIONS["Expressions"] + SECTIONS["Time zones and daylight saving"]


def test_the_python_of_the_sections_on_when_runs() -> None:
    names: dict[str, Any] = {}
    blocks = re.findall(r"```python\n(.*?)```", OURS, re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(block, names)


EMPTY = {1: "0 {} * * ? *", 2: "0 0 {} * ? *", 4: "0 0 ? * {} *"}
"""An expression with a hole, by the number of the field."""

REFUSED = {1: "22-2 *,5", 2: "LW L-3 1,L 29W 30W 31W 3w", 4: "FRI-MON 2-FRI 3#1,6#3 MON/2 mon"}

WRITTEN = {1: "22-23,0-2 *", 4: "FRI-SAT,SUN-MON MON-FRI MON,WED,FRI,SUN MON"}


@pytest.mark.parametrize(("place", "field"), [(place, one) for place in REFUSED for one in REFUSED[place].split()])
def test_what_the_page_calls_refused_is_refused(place: int, field: str) -> None:
    assert f"`{field}`" in SECTIONS["Expressions"].partition("| rejected |")[2]
    with pytest.raises(ConfigError):
        cron(EMPTY[place].format(field))


@pytest.mark.parametrize(("place", "field"), [(place, one) for place in WRITTEN for one in WRITTEN[place].split()])
def test_what_the_page_says_to_write_is_accepted(place: int, field: str) -> None:
    assert f"`{field}`" in SECTIONS["Expressions"].partition("| rejected |")[2]
    cron(EMPTY[place].format(field))
