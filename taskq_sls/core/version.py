"""The library's version: the one place of it. The wheel and ``taskq_sls.__version__`` read it here."""

__version__ = "0.1.0"
