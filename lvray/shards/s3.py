"""The S3 clients, made from the standard AWS variables, and what their errors mean in words.

All of them try a request again on 5xx, SlowDown and lost connections, AWS_MAX_ATTEMPTS times in all (10 where it is
not set), and wait longer each time: AWS's `standard` retry mode.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import os
import re
import secrets
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import fsspec
import pyarrow as pa
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    HTTPClientError,
    ResponseStreamingError,
)
from pyarrow import fs as arrow_fs

from lvray.errors import UseError
from lvray.shards.disk import Data

CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE")
ATTEMPTS = 10
CHECKS = {
    "no S3 answers there: check AWS_ENDPOINT_URL":
        "EndpointConnectionError ConnectTimeoutError ReadTimeoutError ConnectionClosedError SSLError HTTPClientError"
        " NETWORK_CONNECTION",
    "check the bucket's name": "NoSuchBucket InvalidBucketName ParamValidationError",
    "check AWS_ACCESS_KEY_ID": "InvalidAccessKeyId",
    "check AWS_SECRET_ACCESS_KEY": "SignatureDoesNotMatch",
    "check the AWS credentials and what they may do in this bucket": "AccessDenied ACCESS_DENIED",
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY": "NoCredentialsError PartialCredentialsError",
}
"""What to check at which errors of the store, botocore and pyarrow; CHECK at others."""
PASSING_CODES = ("SlowDown", "Throttling", "ThrottlingException", "RequestTimeout", "TooManyRequests",
                 "RequestTimeTooSkewed", "RequestLimitExceeded")
PASSING_ARROW = re.compile(r"AWS Error (NETWORK_CONNECTION|SLOW_DOWN|SERVICE_UNAVAILABLE|INTERNAL_FAILURE|THROTTLING"
                           r"|REQUEST_TIMEOUT)|HTTP status (5\d\d|429)|HTTP response code (5\d\d|429)")
"""What a store says that will answer again: codes, and pyarrow's texts."""
CHECK = "check AWS_ENDPOINT_URL, the bucket and the AWS credentials"


@dataclass(frozen=True)
class Clients:
    """Each client is made when first asked for, and shared by all threads."""

    endpoint: str | None
    region: str | None
    attempts: int
    credentials: tuple[str | None, ...] = field(repr=False)
    """What CREDENTIALS hold. The clients find them by themselves: other ones make other clients."""

    @cached_property
    def boto3(self) -> Any:
        return self._boto3(self.attempts, connect_timeout=5, read_timeout=60)

    @cached_property
    def hasty(self) -> Any:
        """boto3 for a preflight: a request ends within 7 seconds, whatever happens."""
        return self._boto3(min(self.attempts, 2), connect_timeout=3, read_timeout=3)

    def _boto3(self, attempts: int, **timeouts: int) -> Any:
        import boto3  # 0.2 s that a reader of files need not pay
        from botocore.config import Config

        config = Config(retries={"mode": "standard", "total_max_attempts": attempts}, **timeouts)
        return boto3.Session().client("s3", endpoint_url=self.endpoint, region_name=self.region, config=config)

    @cached_property
    def arrow(self) -> arrow_fs.S3FileSystem:
        """Its constructor does not look at AWS_ENDPOINT_URL."""
        return arrow_fs.S3FileSystem(
            endpoint_override=self.endpoint, region=self.region, connect_timeout=5, request_timeout=60,
            retry_strategy=arrow_fs.AwsStandardS3RetryStrategy(max_attempts=self.attempts))

    @cached_property
    def s3fs(self) -> fsspec.AbstractFileSystem:
        """Listings are never cached."""
        fs = fsspec.filesystem(
            "s3", endpoint_url=self.endpoint, client_kwargs={"region_name": self.region}, use_listings_cache=False,
            skip_instance_cache=True, config_kwargs={
                "retries": {"mode": "standard", "total_max_attempts": self.attempts},
                "connect_timeout": 5, "read_timeout": 60})
        fs.retries = 1  # its own, each of which would be as many of the above
        return fs


def clients() -> Clients:
    """Those of the variables as they stand now. UseError: a variable that makes no sense."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint and not re.match(r"https?://[^/]", endpoint):
        raise UseError("AWS_ENDPOINT_URL must begin with http:// or https:// and name a host")
    attempts = os.environ.get("AWS_MAX_ATTEMPTS") or str(ATTEMPTS)
    if not attempts.isdecimal() or int(attempts) == 0:
        raise UseError("AWS_MAX_ATTEMPTS must be a whole number from 1")
    return _clients(endpoint, os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION"), int(attempts),
                    tuple(os.environ.get(name) for name in CREDENTIALS))


_clients = functools.cache(Clients)


def bucket_and_key(uri: str) -> tuple[str, str]:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def put(uri: str, data: Data, **condition: str) -> None:
    bucket, key = bucket_and_key(uri)
    digest = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
    clients().boto3.put_object(Bucket=bucket, Key=key, Body=pa.BufferReader(data), ContentMD5=digest, **condition)


def delete(uri: str) -> None:
    bucket, key = bucket_and_key(uri)
    clients().boto3.delete_object(Bucket=bucket, Key=key)


def delete_tree(uri: str) -> None:
    """Every object below a prefix."""
    bucket, key = bucket_and_key(uri)
    client = clients().boto3
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{key.rstrip('/')}/"):
        keys = [{"Key": item["Key"]} for item in page.get("Contents", [])]
        answer = client.delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True}) if keys else {}
        for error in answer.get("Errors", []):
            raise ClientError({"Error": error}, "DeleteObjects")


def preflight(uri: str, write: bool) -> None:
    """Lists first: the answer tells a wrong bucket, key and secret apart, and some stores make a bucket at a write.

    FileNotFoundError: nothing to read there.
    """
    bucket, key = bucket_and_key(uri)
    client, folder = clients().hasty, f"{key.rstrip('/')}/".lstrip("/")
    try:
        listed = client.list_objects_v2(Bucket=bucket, Prefix=folder, MaxKeys=1)
    except RecursionError:  # botocore's answer to a web page that redirects
        listed = {}
    if "KeyCount" not in listed:
        raise ClientError({"Error": {"Code": "as no S3 does"}}, "ListObjectsV2")
    if write:
        probe = f"{folder}.preflight-{secrets.token_hex(8)}"
        client.put_object(Bucket=bucket, Key=probe, Body=b"lvray")
        client.delete_object(Bucket=bucket, Key=probe)
    elif key and not listed["KeyCount"]:
        clients().arrow.open_input_file(f"{bucket}/{key}")


def why(error: Exception) -> str | None:
    """The store's or a client's error in words, and what to check; None where it is neither's."""
    if isinstance(error.__cause__, ClientError):  # s3fs turns these into OSErrors of its own choice
        error = error.__cause__
    if isinstance(error, ClientError):
        code = str(error.response["Error"].get("Code"))
        return f"the object store answers {code}; {_check(code)}"
    if isinstance(error, BotoCoreError):
        return f"{type(error).__name__}; {_check(type(error).__name__)}"
    from_arrow = re.search(r"AWS Error (\w+(?: \(HTTP status \d+\))?)", str(error))
    return f"{from_arrow[1]}; {_check(from_arrow[1])}" if from_arrow else None


def passing(error: BaseException | None) -> bool:
    """Whether an error of the store, or of the way to it, is of a kind that ends by itself."""
    if isinstance(error, OSError) and isinstance(error.__cause__, ClientError):
        error = error.__cause__
    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return status >= 500 or error.response["Error"].get("Code") in PASSING_CODES
    if isinstance(error, BotoCoreError):
        return isinstance(error, ConnectionError | HTTPClientError | ResponseStreamingError)
    return bool(isinstance(error, OSError) and PASSING_ARROW.search(str(error)))


def _check(code: str) -> str:
    return next((check for check, codes in CHECKS.items() if code in codes.split()), CHECK)
