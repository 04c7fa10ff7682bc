"""``python -m taskq_sls`` is the ``taskq`` command."""

import sys

from .cli import main

sys.exit(main())
