"""Requests as the fronts of a Lambda function hand them over: the fields that AWS's own examples have."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

ARN = "arn:aws:sts::123456789012:assumed-role/operator/ann"

ADDRESS = "203.0.113.7"


def function_url(
    method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: str | None, *, iam: bool = False
) -> dict[str, Any]:
    """A Lambda Function URL: payload format 2.0, body in base64."""
    event = _version_2(method, path, query, headers, body, "abcdefg.lambda-url.eu-central-1.on.aws")
    if iam:
        event["requestContext"]["authorizer"] = {
            "iam": {
                "accessKey": "ASIAEXAMPLE",
                "accountId": "123456789012",
                "callerId": "AROAEXAMPLE:ann",
                "cognitoIdentity": None,
                "principalOrgId": "o-example",
                "userArn": ARN,
                "userId": "AROAEXAMPLE:ann",
            }
        }
    if body is not None:
        event["body"] = base64.b64encode(body.encode()).decode()
        event["isBase64Encoded"] = True
    return event


def http_api(
    method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: str | None, *, iam: bool = False
) -> dict[str, Any]:
    """An HTTP API of API Gateway: payload format 2.0."""
    event = _version_2(method, path, query, headers, body, "a1b2c3.execute-api.eu-central-1.amazonaws.com")
    event["routeKey"] = event["requestContext"]["routeKey"] = "ANY /{proxy+}"
    event["pathParameters"] = {"proxy": path.lstrip("/")}
    if iam:
        event["requestContext"]["authorizer"] = {"iam": {"userArn": ARN, "accountId": "123456789012"}}
    return event


def rest_api(
    method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: str | None, *, iam: bool = False
) -> dict[str, Any]:
    """A REST API of API Gateway: payload format 1.0, parameters decoded."""
    return {
        "resource": "/{proxy+}",
        "path": path,
        "httpMethod": method,
        "headers": dict(headers),
        "multiValueHeaders": {name: [value] for name, value in headers.items()},
        "queryStringParameters": dict(query) or None,
        "multiValueQueryStringParameters": {name: [value] for name, value in query.items()} or None,
        "pathParameters": {"proxy": path.lstrip("/")},
        "stageVariables": None,
        "requestContext": {
            "resourceId": "123456",
            "resourcePath": "/{proxy+}",
            "httpMethod": method,
            "path": f"/prod{path}",
            "accountId": "123456789012",
            "protocol": "HTTP/1.1",
            "stage": "prod",
            "domainName": "a1b2c3.execute-api.eu-central-1.amazonaws.com",
            "requestId": "c6af9ac6-7b61-11e6-9a41-93e8deadbeef",
            "identity": {
                "sourceIp": ADDRESS,
                "userAgent": "curl/8",
                "accountId": "123456789012" if iam else None,
                "caller": "AROAEXAMPLE:ann" if iam else None,
                "userArn": ARN if iam else None,
            },
            "apiId": "a1b2c3",
        },
        "body": body,
        "isBase64Encoded": False,
    }


def load_balancer(
    method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: str | None, *, iam: bool = False
) -> dict[str, Any]:
    """An Application Load Balancer: parameters as they came, percent signs and all."""
    group = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/api/6d0ecf831eec9f09"
    return {
        "requestContext": {"elb": {"targetGroupArn": group}},
        "httpMethod": method,
        "path": quote(path),
        "queryStringParameters": {quote(name): quote(value, safe="") for name, value in query.items()},
        "headers": {**headers, "x-forwarded-for": f"1.2.3.4, {ADDRESS}", "x-forwarded-proto": "https", "x-forwarded-port": "443"},
        "body": body or "",
        "isBase64Encoded": False,
    }  # fmt: skip


FRONTS = {"function URL": function_url, "HTTP API": http_api, "REST API": rest_api, "load balancer": load_balancer}


def _version_2(
    method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: str | None, domain: str
) -> dict[str, Any]:
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": quote(path),
        "rawQueryString": urlencode(query),
        "headers": {**headers, "host": domain, "x-forwarded-proto": "https", "x-forwarded-port": "443"},
        "queryStringParameters": dict(query),
        "requestContext": {
            "accountId": "123456789012",
            "apiId": domain.partition(".")[0],
            "authentication": None,
            "domainName": domain,
            "domainPrefix": domain.partition(".")[0],
            "http": {
                "method": method,
                "path": quote(path),
                "protocol": "HTTP/1.1",
                "sourceIp": ADDRESS,
                "userAgent": "curl/8",
            },
            "requestId": "e1506fd5-9e7b-434f-bd42-4f8fa224b599",
            "routeKey": "$default",
            "stage": "$default",
            "time": "22/Nov/2026:12:00:00 +0000",
            "timeEpoch": 1_795_348_800_000,
        },
        "isBase64Encoded": False,
    }
    if body is not None:
        event["body"] = body
    return event
