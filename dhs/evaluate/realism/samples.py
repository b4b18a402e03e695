"""The two samples of the realism gate: real lenses and matched injections, with features, as one table.

Measured alike on both: r magnitude (aperture of 3 arcsec about the central object, as in the audit), S/N of the g-band
ring at theta_E (as the visibility grade). theta_E is the published one (or that of sigma_v) of a real lens and the true
one of an injection.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from dhs.config.realism import RealismConfig
from dhs.constants import BANDS
from dhs.display import stamp_png
from dhs.evaluate.realism.features import fixed_features
from dhs.evaluate.realism.matching import match
from dhs.evaluate.scored_set import StampItems
from dhs.evaluate.visibility import ring_snr
from dhs.inject.stamp_batch import StampBatch
from dhs.progress import CountingProgress
from dhs.sky.anchor_audit import central_object
from dhs.sky.cutouts import CutoutSet
from dhs.train.finder import Finder

COVARIATES = ("r_mag", "ring_snr", "theta_e_arcsec", "psf_fwhm_r_arcsec", "psf_depth_r_mag")
"""What the balance table shows; matching uses those of `evaluate.realism.match_on`."""
BATCH = 64
G, R = BANDS.index("g"), BANDS.index("r")


@dataclass(frozen=True)
class Measured:
    """N stamps of one sample; (N,) each."""

    r_mag: np.ndarray
    ring_snr: np.ndarray
    theta_e_arcsec: np.ndarray
    psf_fwhm_r_arcsec: np.ndarray
    psf_depth_r_mag: np.ndarray
    target_id: np.ndarray

    def covariates(self, names: tuple[str, ...]) -> np.ndarray:
        """(N, K) what is matched on; the S/N as log10, at least 1."""
        columns = [getattr(self, name).astype(np.float64) for name in names]
        return np.stack(
            [np.log10(np.maximum(v, 1.0)) if n == "ring_snr" else v for n, v in zip(names, columns, strict=True)],
            axis=1,
        )


def measure(items: StampItems, theta_e_arcsec: np.ndarray | None, *, cutouts: CutoutSet, label: str) -> Measured:
    """Of every stamp; ``theta_e_arcsec`` (N,) of real lenses, None: the recipes' own."""
    parts: dict[str, list[np.ndarray]] = {name: [] for name in (*COVARIATES, "target_id")}
    for first, stamps, invvar in _batches(items, cutouts, label=label):
        given = None if theta_e_arcsec is None else theta_e_arcsec[first : first + len(stamps)]
        theta = stamps.recipes.theta_e_arcsec if given is None else given
        fwhm = np.asarray(cutouts.psf_fwhm_arcsec[stamps.recipes.row, R], np.float64)
        light = [_light(stamps, i, invvar[i], float(theta[i]), float(fwhm[i])) for i in range(len(stamps))]
        parts["r_mag"].append(np.array([one[0] for one in light]))
        parts["ring_snr"].append(np.array([one[1] for one in light]))
        parts["theta_e_arcsec"].append(np.asarray(theta, np.float64))
        parts["psf_fwhm_r_arcsec"].append(fwhm)
        parts["psf_depth_r_mag"].append(np.asarray(cutouts.psf_depth_mag[stamps.recipes.row, R], np.float64))
        parts["target_id"].append(stamps.recipes.target_id)
    return Measured(**{name: np.concatenate(values) for name, values in parts.items()})


def samples_table(
    real_items: StampItems,
    real: Measured,
    pool_items: StampItems,
    pool: Measured,
    *,
    names: np.ndarray,
    label: str,
    settings: RealismConfig,
    finder: Finder,
) -> pa.Table:
    """One row a real lens and one an injection of the pool, with covariates; features and pictures of the pairs."""
    pairs = match(
        real.covariates(settings.match_on),
        pool.covariates(settings.match_on),
        pool_object=pool.target_id,
        caliper_sigma=settings.caliper_sigma,
    )
    columns: dict[str, list[object]] = {name: [] for name in SCHEMA.names}
    for side, (items, measured) in enumerate(((real_items, real), (pool_items, pool))):
        place = {int(row): number for number, row in enumerate(pairs[:, side])}
        fixed, model, pngs = _features(items, pairs[:, side], finder=finder)
        for row in range(len(items)):
            number = place.get(row, -1)
            columns["pair"].append(number)
            columns["is_real"].append(side == 0)
            columns["label"].append(label)
            columns["name"].append(str(names[row]) if side == 0 else f"injection {row}")
            columns["object"].append(f"real {names[row]}" if side == 0 else f"sky {measured.target_id[row]}")
            for name in COVARIATES:
                columns[name].append(float(getattr(measured, name)[row]))
            columns["fixed"].append(fixed[number].tolist() if number >= 0 else None)
            columns["model"].append(model[number].tolist() if number >= 0 else None)
            columns["png"].append(pngs[number] if number >= 0 else None)
    return pa.Table.from_pydict(columns, schema=SCHEMA)


SCHEMA = pa.schema(
    [
        ("pair", pa.int32()),
        ("is_real", pa.bool_()),
        ("label", pa.string()),
        ("name", pa.string()),
        ("object", pa.string()),
        *((name, pa.float64()) for name in COVARIATES),
        ("fixed", pa.list_(pa.float64())),
        ("model", pa.list_(pa.float32())),
        ("png", pa.binary()),
    ]
)
"""``pair`` is -1 for a stamp without match; ``label`` that of anchors that are no survey cutouts, else ''."""


def _batches(items: StampItems, cutouts: CutoutSet, *, label: str) -> Iterator[tuple[int, StampBatch, np.ndarray]]:
    progress = CountingProgress(label, "stamps")
    for first in range(0, len(items), BATCH):
        stamps = items.stamps(np.arange(first, min(first + BATCH, len(items))))
        yield first, stamps, np.asarray(cutouts.invvar[stamps.recipes.row])
        progress(first + len(stamps), len(items))


def _light(stamps: StampBatch, i: int, invvar: np.ndarray, theta_e: float, fwhm: float) -> tuple[float, float]:
    """r magnitude and ring S/N; NaN where they cannot be measured."""
    image, good = stamps.images[i].double().numpy(), stamps.good[i].numpy()
    r_mag = central_object(image[R], good=good[R], search_arcsec=1.0).r_mag
    if not np.isfinite(theta_e):
        return r_mag, float("nan")
    weight = np.where(good[G], invvar[G], 1.0).astype(np.float64)
    return r_mag, ring_snr(image[G], invvar=weight, good=good[G], theta_e_arcsec=theta_e, fwhm_arcsec=fwhm)


def _features(items: StampItems, rows: np.ndarray, *, finder: Finder) -> tuple[np.ndarray, np.ndarray, list[bytes]]:
    """Fixed and model features and a picture of (M,) ``rows``; the model's are empty where it has none."""
    extract = getattr(finder, "features", None)
    fixed: list[np.ndarray] = []
    model: list[np.ndarray] = []
    pngs: list[bytes] = []
    maker = finder.maker(items.cutouts)
    for first in range(0, len(rows), BATCH):
        stamps = items.stamps(rows[first : first + BATCH])
        images = stamps.images.numpy()
        fixed.append(fixed_features(images, good=stamps.good.numpy())[0])
        model.append(np.zeros((len(stamps), 0)) if extract is None else extract(maker(stamps)))
        pngs += [stamp_png(image) for image in images]
    if not fixed:
        return np.zeros((0, 0)), np.zeros((0, 0)), []
    return np.concatenate(fixed), np.concatenate(model), pngs
