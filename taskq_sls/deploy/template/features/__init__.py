"""Optional features of a template, each by its name: ``taskq template --with NAME``.

A feature is a function that changes a rendered document in place. Its parameters have no default if no value
suits everyone: their values are given at the deployment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from ....errors import ConfigError
from ..document import Document
from ..plan import Plan
from .account import add_boundary, add_exports, add_log_key, add_producer_policy, require_tls
from .functions import (
    add_alias,
    add_architectures,
    add_layers,
    add_pause,
    add_pollers,
    add_provisioned,
    add_snapstart,
    add_storage,
    add_vpc,
)

Apply = Callable[[Document, Plan], None]


class Feature(NamedTuple):
    """A feature: its effect in a few words, its implementation, and the features it needs or excludes."""

    about: str
    apply: Apply
    needs: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()


FEATURES: Mapping[str, Feature] = {
    "vpc": Feature("functions in subnets of a VPC", add_vpc),
    "layers": Feature("Lambda layers for all functions", add_layers),
    "storage": Feature("more than 512 MB in /tmp", add_storage),
    "architectures": Feature("an architecture for each queue's function", add_architectures),
    "alias": Feature("workers behind the alias live, moved by CodeDeploy", add_alias),
    "snapstart": Feature("workers start from a snapshot", add_snapstart, ("alias",), ("provisioned",)),
    "provisioned": Feature("workers that are always warm", add_provisioned, ("alias",), ("snapstart",)),
    "pollers": Feature("provisioned pollers in place of MaximumConcurrency", add_pollers),
    "pause": Feature("a parameter that stops all consumers", add_pause),
    "boundary": Feature("a permissions boundary and a path for all roles", add_boundary),
    "log-key": Feature("a KMS key for all log groups", add_log_key),
    "tls": Feature("policies that refuse requests without TLS", require_tls),
    "producer-policy": Feature("a managed policy for producers", add_producer_policy),
    "exports": Feature("outputs that other stacks can import", add_exports),
}


def apply_features(document: Document, plan: Plan, names: Iterable[str]) -> None:
    """Change a document by features, in the order of `FEATURES`.

    Raises:
        ConfigError: a feature is unknown, or two exclude each other.
    """
    wanted: set[str] = set()
    for name in names:
        feature = FEATURES.get(name)
        if feature is None:
            raise ConfigError(f"--with {name}: use {', '.join(FEATURES)}")
        wanted |= {name, *feature.needs}
    chosen = {name: feature for name, feature in FEATURES.items() if name in wanted}
    for name, feature in chosen.items():
        for other in feature.excludes:
            if other in chosen:
                raise ConfigError(f"--with {name} and --with {other} exclude each other: Lambda takes one of the two")
    for feature in chosen.values():
        feature.apply(document, plan)
