"""Timed tasks: when they run, where their schedules are kept, and the local clock that fires them offline."""
