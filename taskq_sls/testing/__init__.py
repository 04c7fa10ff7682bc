"""For tests of apps: the real core over brokers and results in memory, with a clock that travels.

>>> from taskq_sls.testing import in_memory
>>> with in_memory(app) as memory:
...     handle = resize.enqueue("a.png", 200)
...     memory.run_until_idle()
...     assert handle.result() == "a-200.png"

pytest users get the fixture ``taskq_memory``: ``memory = taskq_memory(app)``.
"""

from ..clock import ManualClock
from .memory import InMemory, in_memory

__all__ = ["InMemory", "ManualClock", "in_memory"]
