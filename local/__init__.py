"""The reference app, run on this machine: example tasks and the demo."""
