"""AWS: the client port and its implementations. Nothing outside this package imports botocore.

Import an implementation from its own module, so that the others are not loaded:
:mod:`.blocking` (botocore, never suspends), :mod:`.threads` (botocore in threads, for event loops)
and :mod:`.aio` (aiobotocore).
"""
