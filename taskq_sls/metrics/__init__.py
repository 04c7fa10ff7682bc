"""Counters of tasks over time: counted by workers and Lambda functions, written in batches, read as series."""
