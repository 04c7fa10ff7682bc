"""A new project: tasks, an entry point, tests, and everything needed to deploy them."""

from __future__ import annotations

from .project import Project, checked_name, module_of, name_for, write

__all__ = ["Project", "checked_name", "module_of", "name_for", "write"]
