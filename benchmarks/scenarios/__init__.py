"""The scenarios, one file per question. Each has a function that takes endpoints and rounds, and returns rows."""
