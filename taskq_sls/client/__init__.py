"""The app and its tasks: declaring, enqueueing, schedules, events, handles and results."""
