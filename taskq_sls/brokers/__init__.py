"""Queues: the interface and its implementations, SQS and in-memory."""
