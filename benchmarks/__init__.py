"""Measurements. Never part of the tests: the figures depend on the machine and its noise."""
