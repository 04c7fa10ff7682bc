"""Runs deliveries: claims an attempt, runs its function, records how it ended."""
