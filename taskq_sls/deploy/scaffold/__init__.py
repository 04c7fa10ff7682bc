"""A new project: tasks, an entry point, tests, and everything needed to deploy them."""

from __future__ import annotations

from .names import checked_name, module_of, name_for
from .project import Project, write

__all__ = ["Project", "checked_name", "module_of", "name_for", "write"]
