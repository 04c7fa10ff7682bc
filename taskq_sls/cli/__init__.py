"""The ``taskq`` command."""

try:
    from .main import main
except KeyboardInterrupt:  # Ctrl-C while everything is being imported
    raise SystemExit(130) from None

__all__ = ["main"]
