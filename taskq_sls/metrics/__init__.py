"""What is counted of tasks over time: taken down where they run, written in batches, read as series."""
