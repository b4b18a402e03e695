"""The mock survey on disk: chunks of 256 galaxies, drawn by a process pool, written atomically, checked when read.

``<cache_dir>/mock-<hash>/chunk-NNNNN.npz``; the hash covers the configuration that decides a galaxy and
CODE_VERSION, not how many galaxies, processes or which split. A chunk is always whole, so a larger set reuses the
chunks of a smaller one. A damaged chunk (its zip checksums, its shapes, its label) is named in the log and redrawn.
"""

import hashlib
import json
import logging
import os
import zipfile
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from dhs.config.sky import MockSky
from dhs.sky.cutouts import CutoutSet
from dhs.sky.file_lock import file_lock_waiting
from dhs.sky.mock import draw_mock_galaxy
from dhs.sky.splits import split_of_position

CODE_VERSION = 6
"""Raise it with every change of what a galaxy looks like: old caches are then left alone, not mixed in."""

CHUNK_SIZE = 256

_LOG = logging.getLogger(__name__)

Arrays = dict[str, np.ndarray]
Progress = Callable[[int, int], None]


def survey_dir(config: MockSky, *, cache_dir: Path) -> Path:
    """Folder of the chunks of ``config``: every field that decides a galaxy is in its name's hash."""
    decides = config.model_dump(mode="json", exclude={"name", "n_galaxies", "num_processes", "split"})
    text = json.dumps({**decides, "code_version": CODE_VERSION}, sort_keys=True)
    return cache_dir / f"mock-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def load_mock_sky(config: MockSky, *, cache_dir: Path, progress: Callable[[int, int], None] | None = None) -> CutoutSet:
    """The first ``config.n_galaxies`` galaxies of the mock survey, drawn where the cache lacks them.

    ``progress(done, total)`` is called after each chunk. Everything is held in memory: 110 kB a galaxy of 64 px.
    """
    arrays = load_chunks(config, cache_dir=cache_dir, progress=progress)
    return CutoutSet(
        target_id=np.arange(config.n_galaxies, dtype=np.int64),
        split=split_of_position(arrays["ra_deg"], arrays["dec_deg"], config=config.split),
        **arrays,
    )


def load_chunks(config: MockSky, *, cache_dir: Path, progress: Progress | None = None) -> Arrays:
    """Arrays of the first ``config.n_galaxies`` galaxies, named as in CutoutSet; missing chunks are drawn first."""
    folder = survey_dir(config, cache_dir=cache_dir)
    folder.mkdir(parents=True, exist_ok=True)
    arrays = _allocate(config)
    n_chunks = -(-config.n_galaxies // CHUNK_SIZE)
    missing = [chunk for chunk in range(n_chunks) if not _try_read(folder, chunk, arrays)]
    if missing:
        with file_lock_waiting(
            cache_dir / f".{folder.name}.lock", waiting=f"another process draws {folder}: waiting for it"
        ):
            _draw_missing(config, folder, missing, arrays, progress=progress)
    return arrays


def _draw_missing(
    config: MockSky, folder: Path, missing: list[int], arrays: Arrays, *, progress: Progress | None
) -> None:
    """Draw those of ``missing`` that no other process has drawn while this one waited, and read all of them."""
    missing = [chunk for chunk in missing if not _try_read(folder, chunk, arrays, level=logging.DEBUG)]
    done = config.n_galaxies - _rows_of(missing, config.n_galaxies)
    for chunk in _draw_chunks(config, folder, missing):
        _read_chunk(chunk_path(folder, chunk), chunk, arrays)
        done += _rows_of([chunk], config.n_galaxies)
        if progress is not None:
            progress(done, config.n_galaxies)


def chunk_path(folder: Path, chunk: int) -> Path:
    return folder / f"chunk-{chunk:05d}.npz"


def _draw_chunks(config: MockSky, folder: Path, chunks: list[int]) -> Iterable[int]:
    """Draw ``chunks`` and yield each as it is on disk."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    n_processes = min(config.num_processes or cores, len(chunks))
    jobs = [(config, folder, chunk) for chunk in chunks]
    if n_processes <= 1:
        yield from map(_draw_chunk, jobs)
        return
    # spawn: a fork of a process with torch or OpenMP threads may hang.
    with ProcessPoolExecutor(n_processes, mp_context=get_context("spawn")) as pool:
        yield from pool.map(_draw_chunk, jobs)


def _draw_chunk(job: tuple[MockSky, Path, int]) -> int:
    import galsim

    config, folder, chunk = job
    galsim.set_omp_threads(1)
    indices = range(chunk * CHUNK_SIZE, (chunk + 1) * CHUNK_SIZE)
    galaxies = [draw_mock_galaxy(config, index=index) for index in indices]
    columns = {name: np.stack([getattr(galaxy, name) for galaxy in galaxies]) for name in vars(galaxies[0])}
    columns["no_data"] = np.packbits(columns["no_data"], axis=-1)
    _write_atomically(chunk_path(folder, chunk), {**columns, "chunk": np.array(chunk)})
    return chunk


def _write_atomically(path: Path, columns: Arrays) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **columns)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _try_read(folder: Path, chunk: int, arrays: Arrays, *, level: int = logging.WARNING) -> bool:
    """Read a chunk into ``arrays``; False where it is absent or damaged (said in the log, at ``level``)."""
    path = chunk_path(folder, chunk)
    try:
        _read_chunk(path, chunk, arrays)
    except FileNotFoundError:
        return False
    except (zipfile.BadZipFile, ValueError, KeyError, EOFError, OSError, RuntimeError) as error:
        _LOG.log(level, "%s is damaged (%s): drawing it again", path, error)
        return False
    return True


def _read_chunk(path: Path, chunk: int, arrays: Arrays) -> None:
    """Copy a chunk's rows into ``arrays``. Reading a member checks its CRC-32 (BadZipFile)."""
    first = chunk * CHUNK_SIZE
    rows = slice(first, min(first + CHUNK_SIZE, len(arrays["kind"])))
    n = rows.stop - rows.start
    # numpy leaves a file that is no zip open; this `with` does not.
    with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
        if int(stored["chunk"]) != chunk or len(stored["kind"]) != CHUNK_SIZE:
            raise ValueError(f"it says it is chunk {int(stored['chunk'])} of {len(stored['kind'])} galaxies")
        for name in _COLUMNS:
            arrays[name][rows] = stored[name][:n]
        arrays["images"][rows] = stored["image"][:n]
        size_px = arrays["images"].shape[-1]
        no_data = np.unpackbits(stored["no_data"][:n], axis=-1, count=size_px).view(bool)
        arrays["invvar"][rows] = (stored["noise_sigma_nmgy"][:n] ** -2.0)[..., None, None]
        if no_data.any():
            arrays["invvar"][rows][no_data] = 0.0


_COLUMNS = {
    "maskbits": np.int16,
    "psf_fwhm_arcsec": np.float32,
    "psf_depth_mag": np.float32,
    "ra_deg": np.float64,
    "dec_deg": np.float64,
    "kind": np.int8,
    "mag": np.float32,
    "axis_ratio": np.float32,
    "position_angle_rad": np.float32,
    "redshift": np.float32,
    "centre_x_arcsec": np.float32,
    "centre_y_arcsec": np.float32,
}
"""Columns read as they are, and their types."""


def _allocate(config: MockSky) -> Arrays:
    n, size = config.n_galaxies, config.stamp_size_px
    shapes = {"maskbits": (n, size, size), "psf_fwhm_arcsec": (n, 3), "psf_depth_mag": (n, 3), "mag": (n, 3)}
    arrays = {name: np.empty(shapes.get(name, (n,)), dtype) for name, dtype in _COLUMNS.items()}
    arrays["images"] = np.empty((n, 3, size, size), np.float32)
    arrays["invvar"] = np.empty((n, 3, size, size), np.float32)
    return arrays


def _rows_of(chunks: list[int], n_galaxies: int) -> int:
    """How many galaxies of the set lie in ``chunks``."""
    return sum(min(CHUNK_SIZE, n_galaxies - chunk * CHUNK_SIZE) for chunk in chunks)
