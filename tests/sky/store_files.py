"""A small store made of synthetic bricks, for the tests of the store and of whole commands."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from astropy.wcs import WCS

from dhs.config.cutouts import CutoutsTask
from tests.sky.brick_files import brick_header, write_brick

SHAPE = (300, 300)
CENTRES = {"0347m150": (34.78448, -15.0), "0350m150": (35.04310, -15.0), "0353m150": (35.30172, -15.0)}
"""Three neighbours of the real grid."""

N_PER_BRICK = 20
SEEING_ARCSEC = (1.3, 1.2, 1.1)


def write_bricks(root: Path) -> None:
    """Three bricks of noise; the second has no data in z below y = 80: five of its targets have a masked centre."""
    for seed, (brick, centre) in enumerate(CENTRES.items()):
        rng = np.random.default_rng(seed)
        sigma = np.array([0.002, 0.0035, 0.008], np.float32)[:, None, None]
        images = (rng.standard_normal((3, *SHAPE)) * sigma).astype(np.float32)
        invvar = np.broadcast_to(sigma**-2, images.shape).copy()
        if seed == 1:
            images[2, :80], invvar[2, :80] = 0.0, 0.0
        psfsize = np.broadcast_to(np.array(SEEING_ARCSEC, np.float32)[:, None, None], images.shape)
        mask = np.zeros(SHAPE, np.int32)
        write_brick(root, brick, images=images, invvar=invvar, maskbits=mask, psfsize=psfsize, centre_deg=centre)


def target_table(**columns: object) -> pa.Table:
    """N_PER_BRICK targets a brick on a grid of pixels, shuffled, with columns as task=targets writes them."""
    ra, dec, names = [], [], []
    for brick, centre in CENTRES.items():
        x, y = np.meshgrid(np.linspace(50, 250, 5), np.linspace(50, 250, 4))
        world = WCS(brick_header(brick, shape=SHAPE, centre_deg=centre)).wcs_pix2world(x.ravel(), y.ravel(), 0)
        ra, dec, names = [*ra, *world[0]], [*dec, *world[1]], [*names, *[brick] * N_PER_BRICK]
    order = np.random.default_rng(0).permutation(len(ra))
    n = len(ra)
    base = {
        "target_id": np.arange(1000, 1000 + n),
        "ra_deg": np.array(ra)[order],
        "dec_deg": np.array(dec)[order],
        "brickname": np.array(names)[order].tolist(),
        "kind": ["lrg", "lrg", "spiral"] * (n // 3),
        "split": ["train", "train", "train", "val", "test", "test", "val", "val", "test", "test"] * (n // 10),
        "role": ["host", "control"] * (n // 2),
        "flux_g_nmgy": np.linspace(1, 2, n),
        "flux_r_nmgy": np.linspace(3, 4, n),
        "flux_z_nmgy": np.linspace(5, 6, n),
        "psfdepth_r_mag": np.full(n, 23.9),
        "axis_ratio": np.linspace(0.4, 1.0, n),
        "position_angle_rad": np.linspace(0.0, 3.0, n),
        "z_phot": np.where(np.arange(n) % 7, np.linspace(0.3, 0.9, n), -99.0),
    }
    return pa.table({**base, **columns})


def make_task(folder: Path, root: Path | str, *, table: pa.Table | None = None, **changes: object) -> CutoutsTask:
    """The task that cuts ``table`` from the bricks under ``root`` into ``folder/store``, in shards of 25 and more."""
    folder.mkdir(exist_ok=True)
    targets = folder / "targets.parquet"
    pq.write_table(target_table() if table is None else table, targets)
    base = {
        "name": "cutouts",
        "targets": targets,
        "output": folder / "store",
        "bricks": {"root": str(root), "num_processes": 1},
        "service": {},
        "quality": {},
        "split": {},
        "targets_per_shard": 25,
        **changes,
    }
    return CutoutsTask.model_validate(base)


def nothing(done: int, total: int) -> None:
    """Progress nobody looks at."""
