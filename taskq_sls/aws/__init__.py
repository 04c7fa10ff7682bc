"""AWS: the client port and its implementations. Nothing outside this package imports botocore.

Import an implementation from its own module, so that only what is used is loaded:
:mod:`.blocking` (botocore, never suspends), :mod:`.threads` (botocore in threads, for event loops)
and :mod:`.aio` (aiobotocore).
"""
