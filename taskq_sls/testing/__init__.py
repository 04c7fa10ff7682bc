"""For tests of apps: the real core over brokers and results in memory, with a clock that travels.

>>> from taskq_sls.testing import in_memory
>>> with in_memory(app) as memory:
...     handle = resize.enqueue("a.png", 200)
...     memory.run_until_idle()
...     assert handle.result() == "a-200.png"

To test failures: `AdversarialBroker` does everything that SQS may do, `Faults` decides by seed which calls fail, and
`FaultyResults` and `FaultyPort` make them fail.

pytest users get the fixture ``taskq_memory``: ``memory = taskq_memory(app)``.
"""

from ..core.clock import ManualClock
from .adversary import AdversarialBroker
from .faults import Fault, Faults, FaultyResults
from .memory import InMemory, in_memory
from .ports import FaultyPort

__all__ = [
    "AdversarialBroker",
    "Fault",
    "Faults",
    "FaultyPort",
    "FaultyResults",
    "InMemory",
    "ManualClock",
    "in_memory",
]
