"""A user's project as the tests deploy it: tasks, entry points, and what is rendered from them."""
