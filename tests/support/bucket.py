"""Buckets of moto's S3 server."""

from collections.abc import Iterator
from contextlib import contextmanager

import boto3
import httpx
from moto.server import ThreadedMotoServer

from tests.support.ports import free_port

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}


@contextmanager
def bucket_server() -> Iterator[str]:
    """Run a server and yield its address. It is empty: all of one process share what their buckets hold."""
    port = free_port()
    running = ThreadedMotoServer("127.0.0.1", port, verbose=False)
    running.start()
    try:
        httpx.post(f"http://127.0.0.1:{port}/moto-api/reset").raise_for_status()
        yield f"http://127.0.0.1:{port}"
    finally:
        running.stop()


def new_bucket(server: str, name: str) -> str:
    """Make a bucket and return the value of `s3_url` for a site in it. `CREDENTIALS` must be in the environment."""
    client = boto3.client("s3", endpoint_url=server, region_name="us-east-1")
    client.create_bucket(Bucket=name)
    client.close()
    return f"s3://{name}/site?endpoint={server}"
