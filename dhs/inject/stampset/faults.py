"""Faults of disks, buckets and files as one line that says what to do, whatever library found them."""

from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

_REMEDY = "free space or mend access, and run the same command again: finished parts are kept"


@contextmanager
def faults_as_lines(what: str, *, remedy: str = _REMEDY) -> Iterator[None]:
    """Turn OSError, Arrow's and botocore's errors into ValueError(``what``: reason; ``remedy``)."""
    try:
        yield
    except FileNotFoundError as error:
        raise ValueError(f"{what}: no such file or bucket ({_line(error)})") from None
    except (OSError, pa.ArrowException) as error:
        raise ValueError(f"{what}: {_line(error)}; {remedy}") from None
    except ImportError as error:
        raise ValueError(f"{what}: {_line(error)} (pip install 'dark-halo-scope[s3]' for s3://)") from None
    except Exception as error:
        if type(error).__module__.partition(".")[0] in ("botocore", "aiobotocore", "aiohttp"):
            raise ValueError(f"{what}: {_line(error)}; {remedy}") from None
        raise


def _line(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return " ".join(str(text).split()) or type(error).__name__
