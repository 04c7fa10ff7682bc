"""Operators' actions: read, redrive and delete dead letters; show, retry and cancel tasks; show queues and workers.

Used by the command line and the HTTP API. All are coroutines over an app and its services, which print nothing. A sync
caller runs them with ``app.services.blocking()``, an async one awaits them with ``await app.services.on_loop()``.
"""
