"""Plain functions in child processes that can be killed: ``run_in="process"``.

The children are fresh interpreters, never forks: this process has threads and connections, which a fork would share.
"""
