"""Where an input lies: a path of this machine, or an fsspec URL (`s3://bucket/bank.h5`, `https://...`).

A URL stays text: `pathlib` would make `s3:/bucket` of `s3://bucket`. `dhs.remote` fetches what a URL names; whatever
reads a file then sees a path.
"""

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import PlainValidator, WithJsonSchema

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(::|://)")


def _parsed(value: Any) -> Path | str:
    if isinstance(value, Path):
        return value
    if not isinstance(value, str) or not value:
        raise ValueError("must be a path or an fsspec URL (s3://bucket/name)")
    return value if is_url(value) else Path(value)


def is_url(text: str) -> bool:
    """Whether ``text`` begins with a protocol (`s3://`, `file://`, a chain of them `simplecache::`)."""
    return _URL.match(text) is not None


Location = Annotated[Path | str, PlainValidator(_parsed), WithJsonSchema({"type": "string"})]
"""Path, or str where it is a URL."""


def require_here(key: str, location: Path | str) -> Path:
    """``location`` as a path. ValueError naming ``key`` where it is a URL: something is built, or was not fetched."""
    if isinstance(location, str):
        raise ValueError(f"{key} = {location}: must be a path of this machine, not a URL")
    return location
