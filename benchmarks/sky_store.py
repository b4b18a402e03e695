"""Cutouts from a coadd brick of real size, and from a store to the stream: cutouts a second of one core.

The brick is 3600x3600 pixels, compressed as the survey's. Rates are of processor time (one thread works), so that
other programs on the machine do not count; files are in the page cache.
"""

import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from astropy.io import fits
from astropy.nddata import Cutout2D
from astropy.wcs import WCS

from benchmarks.measure import Rows, rows_from
from dhs.config.cutouts import CutoutsTask
from dhs.config.sky import StoreSky
from dhs.constants import BANDS
from dhs.sky.coadd_bricks import BrickReader, brick_file
from dhs.sky.cutout_job import make_store
from dhs.sky.store import load_store_sky
from tests.sky.brick_files import brick_header, write_brick

BRICK, CENTRE, SIDE = "0347m150", (34.78448, -15.0), 3600
ROUNDS = 5
BATCH = 256
N_STORE = 4000


def cutouts() -> Rows:
    """Three bands with invvar, maskbits and psfsize, from one brick to arrays; and the whole job, to shards."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_brick(folder)
        reader = BrickReader(str(folder), size_px=64)
        candidates: dict[str, Callable[[], int]] = {}
        for n in (100, 200, 400, 1000):
            ra, dec = _positions(n)
            candidates[f"{n} targets a brick"] = lambda ra=ra, dec=dec: _fetch(reader, ra, dec)  # type: ignore[misc]
        ra, dec = _positions(200)
        candidates["200 targets a brick, astropy: whole planes, Cutout2D"] = lambda: _astropy(folder, ra, dec)
        rounds = iter(range(10_000))
        candidates["task=cutouts, 400 targets a brick, to shards"] = lambda: _job(
            folder, folder / f"store{next(rounds)}", n=400
        )
        rates = per_cpu_second(candidates)
    return rows_from(rates, part="cutouts from bricks, one core", unit="cutouts/s")


def store() -> Rows:
    """Batches of 256 random cutouts (image, invvar, maskbits) of a store: what a stream asks for."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_brick(folder)
        _job(folder, folder / "store", n=N_STORE)
        skies = {
            kind: load_store_sky(
                StoreSky.model_validate({"name": "store", "path": folder / "store", "resident": kind == "resident"})
            )
            for kind in ("mapped", "resident")
        }
        rng = np.random.default_rng(1)

        def gather(kind: str) -> int:
            sky = skies[kind]
            for _ in range(8):
                rows = rng.integers(0, len(sky), BATCH)
                for pixels in (sky.images, sky.invvar, sky.maskbits):
                    np.asarray(pixels[rows])
            return 8 * BATCH

        rates = per_cpu_second(
            {
                "store, mapped, random rows": lambda: gather("mapped"),
                "store, resident, random rows": lambda: gather("resident"),
                "webdataset, the same tars in order": lambda: _webdataset(folder / "store"),
            }
        )
    return rows_from(rates, part="store to the stream, one core", unit="cutouts/s")


def per_cpu_second(candidates: dict[str, Callable[[], int]]) -> dict[str, list[float]]:
    """As benchmarks.measure.interleaved, but per second of this process's processor time."""
    rates: dict[str, list[float]] = {name: [] for name in candidates}
    for work in candidates.values():
        work()
    for _ in range(ROUNDS):
        for name, work in candidates.items():
            started = time.process_time()
            rates[name].append(work() / (time.process_time() - started))
    assert all(statistics.median(values) > 0 for values in rates.values())
    return rates


def _write_brick(folder: Path) -> None:
    rng = np.random.default_rng(0)
    shape = (SIDE, SIDE)
    sigma = np.array([0.002, 0.0035, 0.008], np.float32)[:, None, None]
    noise = rng.standard_normal((3, *shape), dtype=np.float32)
    write_brick(
        folder,
        BRICK,
        images=noise * sigma,
        invvar=sigma**-2 * (1 + 0.03 * noise[::-1]),
        maskbits=np.where(rng.random(shape) < 0.005, 1 << 12, 0).astype(np.int32),
        psfsize=np.full((3, *shape), 1.2, np.float32),
        centre_deg=CENTRE,
    )


def _positions(n: int) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.random.default_rng(n).uniform(100, SIDE - 100, (2, n))
    ra, dec = WCS(brick_header(BRICK, shape=(SIDE, SIDE), centre_deg=CENTRE)).wcs_pix2world(x, y, 0)
    return ra, dec


def _fetch(reader: BrickReader, ra: np.ndarray, dec: np.ndarray) -> int:
    fetched = reader.fetch(ra, dec, brick=np.full(len(ra), BRICK))
    assert not any(fetched.reason)
    return len(ra)


def _astropy(folder: Path, ra: np.ndarray, dec: np.ndarray) -> int:
    """What a script does: read each plane, cut with Cutout2D; psfsize maps left out."""
    wcs = WCS(brick_header(BRICK, shape=(SIDE, SIDE), centre_deg=CENTRE))
    x, y = wcs.wcs_world2pix(ra, dec, 0)
    for product in (*(f"{kind}-{band}" for kind in ("image", "invvar") for band in BANDS), "maskbits"):
        with fits.open(brick_file(str(folder), BRICK, product)) as hdus:
            plane = hdus[1].data
            for position in zip(x, y, strict=True):
                Cutout2D(plane, position, 64, mode="strict", copy=True)
    return len(ra)


def _job(folder: Path, output: Path, *, n: int) -> int:
    ra, dec = _positions(n)
    targets = folder / f"targets{n}.parquet"
    table = {"target_id": np.arange(n), "ra_deg": ra, "dec_deg": dec, "brickname": [BRICK] * n}
    table |= {f"psfdepth_{band}_mag": np.full(n, 24.0) for band in BANDS}  # as lists of task=targets have them
    pq.write_table(pa.table(table), targets)
    task = {
        "name": "cutouts",
        "targets": targets,
        "output": output,
        "bricks": {"root": str(folder), "num_processes": 1},
        "service": {},
        "quality": {},
        "split": {},
    }
    summary = make_store(CutoutsTask.model_validate(task), cache_dir=folder, progress=lambda done, total: None)
    assert summary.n_cutouts == n
    return n


def _webdataset(path: Path) -> int:
    import webdataset

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        tars = [str(tar) for tar in sorted(path.glob("shard-*.tar"))[:1]]
        return sum(1 for _ in webdataset.WebDataset(tars, shardshuffle=False).decode())
