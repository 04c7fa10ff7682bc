"""DynamoDB expressions. Every attribute goes by a ``#name``, since many of ours are reserved words.

In an expression ``#status`` stands for the attribute ``status``; ``:set_status`` is the value an update
gives it, and the values of conditions are named ``:if_...``, so that the two cannot collide.
"""

from __future__ import annotations

import functools
import re
from typing import Any, NamedTuple

from ..layout import Item

NAME = re.compile(r"#(\w+)")


class Update(NamedTuple):
    """What an UpdateItem changes.

    Args:
        sets: attributes to write.
        defaults: attributes to write only where they are absent.
        adds: numbers to add to attributes (absent counts as 0).
        removes: attributes to remove.
    """

    sets: Item
    defaults: Item = {}
    adds: Item = {}
    removes: tuple[str, ...] = ()

    def expression(self) -> str:
        """The UpdateExpression."""
        sets = [f"#{name} = :set_{name}" for name in self.sets]
        sets += [f"#{name} = if_not_exists(#{name}, :set_{name})" for name in self.defaults]
        parts = [f"SET {', '.join(sets)}"]
        if self.adds:
            parts.append("ADD " + ", ".join(f"#{name} :set_{name}" for name in self.adds))
        if self.removes:
            parts.append("REMOVE " + ", ".join(f"#{name}" for name in self.removes))
        return " ".join(parts)

    def values(self) -> Item:
        """Its ExpressionAttributeValues."""
        values = self.sets | self.defaults | self.adds
        return {f":set_{name}": value for name, value in values.items()}

    def parameters(self) -> dict[str, Any]:
        """The parameters of an UpdateItem without a condition."""
        expression = self.expression()
        return {
            "UpdateExpression": expression,
            "ExpressionAttributeNames": _names(expression),
            "ExpressionAttributeValues": self.values(),
        }


class Condition(NamedTuple):
    """A ConditionExpression and the values it names."""

    expression: str
    values: Item

    def also(self, expression: str, values: Item = {}) -> Condition:
        """This condition and another one."""
        return Condition(f"({self.expression}) AND {expression}", self.values | values)

    def parameters(self, update: Update | None = None) -> dict[str, Any]:
        """The parameters of a conditional PutItem, or of an UpdateItem with `update`."""
        parameters: dict[str, Any] = {
            "ConditionExpression": self.expression,
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        values = self.values
        names = _names(self.expression)
        if update is not None:
            parameters["UpdateExpression"] = update.expression()
            values = values | update.values()
            names = names | _names(parameters["UpdateExpression"])
        parameters["ExpressionAttributeNames"] = names
        if values:
            parameters["ExpressionAttributeValues"] = values
        return parameters


@functools.lru_cache(maxsize=256)
def _names(expression: str) -> dict[str, str]:
    return {f"#{name}": name for name in NAME.findall(expression)}
