"""Features of the event source mappings, by which Lambda consumes the queues."""

from __future__ import annotations

from typing import Any

from ..document import Document, plain, section
from ..emitter import Tag
from ..intrinsics import either, ref
from ..plan import Plan
from .functions import workers_of


def add_pollers(document: Document, plan: Plan) -> None:
    """The mappings as resources of their own: SAM's event has no provisioned pollers. Their logical ids stay those that
    SAM makes, so that a stack changes them in place.
    """
    section(document, "Parameters").update(
        MinimumPollers=_number(2, 2, 200, "Pollers of each queue that are always there, and paid for"),
        MaximumPollers=_number(20, 2, 2_000, "Most pollers of each queue"),
    )
    resources = section(document, "Resources")
    for id, properties in list(workers_of(document, plan)):
        mapping = {name: value for name, value in _event(properties).items() if name != "ScalingConfig"}
        del properties["Events"]
        resources[f"{id}Messages"] = {
            "Type": "AWS::Lambda::EventSourceMapping",
            "Properties": {
                "EventSourceArn": mapping.pop("Queue"),
                "FunctionName": ref(f"{id}.Alias" if "AutoPublishAlias" in properties else id),
                **mapping,
                "ProvisionedPollerConfig": {
                    "MinimumPollers": ref("MinimumPollers"),
                    "MaximumPollers": ref("MaximumPollers"),
                },
            },
        }


def add_pause(document: Document, plan: Plan) -> None:
    section(document, "Parameters")["Consumers"] = {
        "Type": "String",
        "Default": "on",
        "AllowedValues": ["on", "off"],
        "Description": "off: no function consumes its queue; messages wait",
    }
    section(document, "Conditions")["IsConsuming"] = Tag("Equals", [ref("Consumers"), "on"])
    enabled = either("IsConsuming", True, False)
    resources = section(document, "Resources")
    for id, properties in workers_of(document, plan):
        mapping = resources.get(f"{id}Messages")
        target = plain(mapping)["Properties"] if mapping is not None else _event(properties)
        target["Enabled"] = enabled


def _event(properties: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = properties["Events"]["Messages"]["Properties"]
    return found


def _number(default: int, low: int, high: int, description: str) -> dict[str, Any]:
    return {"Type": "Number", "Default": default, "MinValue": low, "MaxValue": high, "Description": description}
