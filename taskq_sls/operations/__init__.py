"""What operators do: look into dead-letter queues and empty them, retry tasks, see queues and workers.

Written once for the command line and for whatever else drives it: coroutines over an app and its services, which
print nothing and ask nobody. A sync caller drives them with ``app.services.blocking()``, an async one awaits them with
``await app.services.on_loop()``.
"""
