"""The stack on this machine: AWS by moto, and Lambda with its SQS event source mapping.

Nothing is imported here, so that a container's process loads neither moto nor botocore.
"""
