"""Makes the code of Lambda functions: wheels for their platform, the app's own modules, compiled.

The Makefile of a project calls it for each function of a ``sam build``: ``python -m taskq_sls.artifact --help``.
"""

from __future__ import annotations

from .code import LIBRARY_PARTS_LEFT_OUT, assemble
from .packages import MACHINES, install

__all__ = ["LIBRARY_PARTS_LEFT_OUT", "MACHINES", "assemble", "install"]
