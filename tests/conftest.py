"""Fixtures of all tests."""

from __future__ import annotations

from tests.support.aws_bench import aws_bench, aws_server, make_aws_bench

__all__ = ["aws_bench", "aws_server", "make_aws_bench"]
