"""A bucket on the loopback (moto), for tests of s3:// inputs and outputs."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
import httpx
import pytest

BUCKET = "s3://dhs"


@contextmanager
def bucket() -> Iterator[Any]:
    """The file system of a server with one empty bucket; `s3://` means it for this process and its children."""
    pytest.importorskip("s3fs")
    server_module = pytest.importorskip("moto.server")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    httpx.post(f"http://{host}:{port}/moto-api/reset").raise_for_status()  # moto keeps buckets as long as the process
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        files = fsspec.filesystem("s3")
        files.mkdir(BUCKET)
        try:
            yield files
        finally:
            fsspec.get_filesystem_class("s3").clear_instance_cache()
            server.stop()


def upload(files: Any, path: Path, url: str) -> str:
    """Put a file or a folder to ``url``."""
    files.put(str(path), url, recursive=path.is_dir())
    files.invalidate_cache()
    return url
