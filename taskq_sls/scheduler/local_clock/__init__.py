"""Fires schedules on this machine: `taskq scheduler`."""
