"""Renders the SAM template that deploys an app: its queues, functions, state, schedules, alarms and roles."""

from __future__ import annotations

from .plan import Plan, TemplateOptions
from .render import render, render_plan

__all__ = ["Plan", "TemplateOptions", "render", "render_plan"]
