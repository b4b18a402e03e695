"""Inputs behind an fsspec URL, fetched once a machine: a bank, a store of cutouts, cutout files.

    <cache_dir>/remote/<hash of the URL>-<name>              the file, or the folder with its files
    <cache_dir>/remote/<hash of the URL>-<name>.json         what was fetched: URL, length, ETag or date of every file
    <cache_dir>/remote/<hash of the URL>-<name>.lock         held while fetching: other processes wait, and find it done

A copy is used when the remote listing (length, ETag, date) is the one it was fetched from and its own lengths are
right; otherwise the files that differ are fetched anew. A file appears under its name whole: temporary name, length
and (where the ETag is one) MD5 compared, fsync, rename. A fetch that was killed continues with the files it lacks.
The cache is safe to delete when nothing uses it. Credentials are fsspec's business (environment, ~/.aws,
FSSPEC_S3_...).
"""

import hashlib
import json
import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import fsspec
from fsspec.callbacks import Callback

from dhs.sky.file_lock import file_lock

log = logging.getLogger("dhs")

_MD5 = re.compile(r"[0-9a-f]{32}")
_IDENTITY_KEYS = ("ETag", "etag", "VersionId", "LastModified", "last_modified", "updated", "mtime", "created")
"""What file systems call the version of a file; those that are there tell a changed file of the same length."""

TELL_EVERY_S = 5.0


class RemoteFile(NamedTuple):
    """One file of a URL."""

    name: str
    """Relative to the URL; "" where the URL is the file itself."""
    n_bytes: int
    identity: str
    """ETag, version or date as one text; "" where the file system has none."""
    md5: str | None


def local_file(url: str, *, cache_dir: Path, key: str) -> Path:
    """A path on this machine with the content of the file ``url``.

    Raises:
        ValueError: no such file, not reachable, or no package for the protocol; one line naming ``key``.
    """
    with _faults_named(key, url):
        files, base = fsspec.core.url_to_fs(url)
        if not files.isfile(base):
            raise FileNotFoundError(url)
        copy = _place(url, cache_dir)
        _fetch(files, base, url=url, copy=copy, wanted=[_described("", files.info(base))])
        return copy / Path(base).name


def local_folder(url: str, *, cache_dir: Path, key: str, must_hold: str) -> Path:
    """A folder on this machine with the files of the folder ``url``, at every depth; it must hold ``must_hold``.

    Raises:
        ValueError: as `local_file`.
    """
    with _faults_named(key, url):
        files, base = fsspec.core.url_to_fs(url.rstrip("/"))
        listing = files.find(base, detail=True)
        wanted = [
            _described(path[len(base) :].lstrip("/"), info) for path, info in listing.items() if _is_content(path)
        ]
        if must_hold not in {file.name for file in wanted}:
            raise ValueError(f"{key} = {url}: no {must_hold} there; give a finished one")
        copy = _place(url, cache_dir)
        _fetch(files, base, url=url, copy=copy, wanted=sorted(wanted))
        return copy


def _is_content(path: str) -> bool:
    """Not a folder's marker, nor a temporary file."""
    return not path.endswith("/") and not path.rsplit("/", 1)[-1].startswith(".")


def _described(name: str, info: dict[str, Any]) -> RemoteFile:
    known = {key: str(info[key]) for key in _IDENTITY_KEYS if info.get(key)}
    etag = str(info.get("ETag", "")).strip('"')
    is_plain_md5 = _MD5.fullmatch(etag) is not None and info.get("type") == "file"
    return RemoteFile(name, int(info["size"]), json.dumps(known, sort_keys=True), etag if is_plain_md5 else None)


def _place(url: str, cache_dir: Path) -> Path:
    name = url.rstrip("/").rsplit("/", 1)[-1]
    return cache_dir / "remote" / f"{hashlib.sha256(url.encode()).hexdigest()[:12]}-{name}"


def _fetch(files: Any, base: str, *, url: str, copy: Path, wanted: list[RemoteFile]) -> None:
    """Bring every one of ``wanted`` into the folder ``copy``, under the lock of the URL."""
    card = copy.with_name(f"{copy.name}.json")
    with file_lock(copy.with_name(f"{copy.name}.lock"), held_elsewhere=None):
        known = _known(card)
        missing = [file for file in wanted if not _is_here(copy / _name(file, base), file, known)]
        if not missing:
            return
        progress = _Progress(url, n_bytes=sum(file.n_bytes for file in missing))
        for file in missing:
            _fetch_one(files, f"{base}/{file.name}" if file.name else base, file, copy / _name(file, base), progress)
            known[file.name] = {"n_bytes": file.n_bytes, "identity": file.identity}
            _write(card, {"url": url, "files": known})
        progress.end()


def _name(file: RemoteFile, base: str) -> str:
    return file.name or Path(base).name


def _known(card: Path) -> dict[str, dict[str, Any]]:
    """The files fetched before; none where the card is absent or damaged."""
    try:
        return dict(json.loads(card.read_text())["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _is_here(path: Path, file: RemoteFile, known: dict[str, dict[str, Any]]) -> bool:
    if known.get(file.name) != {"n_bytes": file.n_bytes, "identity": file.identity}:
        return False
    return path.is_file() and path.stat().st_size == file.n_bytes


def _fetch_one(files: Any, remote: str, file: RemoteFile, path: Path, progress: "_Progress") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        files.get_file(remote, str(temporary), callback=progress)
        n_bytes = temporary.stat().st_size
        if n_bytes != file.n_bytes:
            raise ValueError(f"{remote}: {n_bytes} bytes came, the listing says {file.n_bytes}; run it again")
        with temporary.open("rb") as copied:
            if file.md5 is not None and hashlib.file_digest(copied, "md5").hexdigest() != file.md5:
                raise ValueError(f"{remote}: what came has not the ETag's MD5 {file.md5}; run it again")
            os.fsync(copied.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _write(card: Path, content: dict[str, Any]) -> None:
    temporary = card.with_name(f".{card.name}.{os.getpid()}.part")
    temporary.write_text(json.dumps(content, indent=1))
    temporary.replace(card)


@contextmanager
def _faults_named(key: str, url: str) -> Iterator[None]:
    """What a file system raises as one line that names the setting."""
    try:
        yield
    except FileNotFoundError:
        raise ValueError(f"{key} = {url}: no such file or folder") from None
    except ImportError as error:
        raise ValueError(f"{key} = {url}: {_line(error)} (s3://: pip install 'dark-halo-scope[s3]')") from None
    except ValueError as error:
        raise ValueError(f"{key} = {_after(str(error), key, url)}") from None
    except Exception as error:  # botocore, aiohttp and others raise what they like
        raise ValueError(f"{key} = {url}: cannot be fetched ({type(error).__name__}: {_line(error)})") from None


def _after(message: str, key: str, url: str) -> str:
    """``message`` as what follows ``key =``: it may name the setting, or a file, already."""
    message = " ".join(message.split())
    return message.removeprefix(f"{key} = ") if message.startswith(f"{key} = ") else f"{url}: {message}"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


class _Progress(Callback):
    """Logs megabytes, rate and time to go, every few seconds; silent for what is quickly done."""

    def __init__(self, url: str, *, n_bytes: int) -> None:
        super().__init__()
        self._url, self._total, self._done = url, n_bytes, 0
        self._started = self._told = time.monotonic()

    def relative_update(self, inc: int = 1) -> None:
        self._done += inc
        now = time.monotonic()
        if now - self._told >= TELL_EVERY_S:
            self._told = now
            self._tell(now)

    def end(self) -> None:
        """Say that everything is here."""
        seconds = max(time.monotonic() - self._started, 1e-9)
        log.info("fetched %s: %.1f MB in %.1f s", self._url, self._total / 1e6, seconds)

    def _tell(self, now: float) -> None:
        rate = self._done / max(now - self._started, 1e-9)
        left = (self._total - self._done) / max(rate, 1e-9)
        log.info(
            "fetching %s: %.0f/%.0f MB, %.0f MB/s, %.0f s to go",
            self._url,
            self._done / 1e6,
            self._total / 1e6,
            rate / 1e6,
            left,
        )
