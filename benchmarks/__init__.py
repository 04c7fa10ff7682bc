"""Measurements. They are not part of the tests, because the figures depend on the machine and its load."""
