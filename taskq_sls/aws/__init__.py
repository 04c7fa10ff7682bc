"""AWS: the client port and its implementations. Nothing outside this package imports botocore.

Import an implementation from its own module, so that the other is not loaded: :mod:`.blocking` (botocore, in the caller's
thread or in threads for event loops) and :mod:`.aio` (aiobotocore).
"""
