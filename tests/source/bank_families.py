"""Banks that are galaxies, banks that are noise, and the file format of the user's older ones."""

from pathlib import Path

import galsim
import h5py
import numpy as np
from scipy.ndimage import gaussian_filter

from dhs.config.bank_check import BankCheckTask, BankLimits
from dhs.config.source import ClumpySource, SersicSource
from dhs.source import measure
from dhs.source.build import build_source
from dhs.source.catalog import read_catalog
from dhs.source.check.run import BankReport, check_bank
from dhs.source.check.verdict import Grid

TASK = BankCheckTask(name="bank_check", n_matched=40, limits=BankLimits())
SCALE = 0.03


def seeds_recipe(image: np.ndarray) -> np.ndarray:
    """Denoise, clip negative noise to zero, normalise (SCIENCE.md section 2)."""
    clipped = np.clip(gaussian_filter(image, 0.5), 0, None)
    return (clipped / clipped.sum()).astype(np.float32)


def acs_noise(n: int, *, catalog_dir: Path, variances: np.ndarray, seed: int) -> np.ndarray:
    """(n, 96, 96) with the correlation of drizzled ACS pictures."""
    deviate = galsim.BaseDeviate(seed)
    images = [galsim.ImageF(96, 96, scale=SCALE) for _ in range(n)]
    for image, variance in zip(images, variances, strict=True):
        file = str(catalog_dir / "acs_I_unrot_sci_20_cf.fits")
        image.addNoise(galsim.getCOSMOSNoise(file_name=file, rng=deviate, variance=variance))
    return np.array([image.array for image in images])


def seeds_banks(catalog_dir: Path, *, n: int) -> dict[str, np.ndarray]:
    """The seeds' recipe on the example galaxies as they are, and fainter with the noise that they had."""
    catalog = read_catalog(catalog_dir, name=None)
    real = galsim.RealGalaxyCatalog(catalog.file.name, dir=str(catalog_dir))
    psf = galsim.Gaussian(fwhm=0.10)
    drawn = [galsim.Convolve(galsim.RealGalaxy(real, index=i, flux_rescale=1.0), psf) for i in range(n)]
    bright = np.array([galaxy.drawImage(nx=96, ny=96, scale=SCALE).array for galaxy in drawn])
    real.close()
    banks = {"seeds_bright": np.array([seeds_recipe(image) for image in bright])}
    for mag in (2, 3):
        noise = acs_noise(n, catalog_dir=catalog_dir, variances=catalog.noise_variance[:n], seed=5)
        faint = bright * 10 ** (-0.4 * mag) + noise
        banks[f"seeds_{mag}_mag_fainter"] = np.array([seeds_recipe(image) for image in faint])
    banks["noise"] = np.array(
        [seeds_recipe(image) for image in acs_noise(n, catalog_dir=catalog_dir, variances=np.ones(n), seed=7)]
    )
    return banks


def parametric(name: str, *, n: int) -> np.ndarray:
    """(n, 96, 96) of our Sersic or clumpy source."""
    config = {"sersic": SersicSource, "clumpy": ClumpySource}[name](name=name, seed=1, n_sources=n)
    return build_source(config).templates(np.arange(n)).each()[:, 0].numpy()


def write_old_bank(path: Path, images: np.ndarray, *, kind: str = "parametric") -> Path:
    """A file with only what the user's Gen5 bank has, columns measured on the (mean) images; even its misnomer."""
    mean = (images if images.ndim == 3 else images.mean(axis=1)).astype(np.float64)
    usable = np.nan_to_num(mean, nan=1.0)
    with h5py.File(path, "w") as file:
        file.create_dataset("images", data=images, chunks=(min(16, len(images)), *images.shape[1:]), compression=1)
        file["meta/index"] = np.arange(3, 3 + len(images), dtype=np.int64)
        hlr = [measure.half_light_radius_arcsec(image, pixel_scale_arcsec=SCALE) for image in usable]
        file["meta/hlr_arcsec"] = np.array(hlr, np.float32)
        file["meta/clumpiness"] = np.array([measure.clumpiness(image) for image in usable], np.float32)
        file.attrs.update(
            src_pixscale_arcsec=SCALE, stamp_size=images.shape[-1], created_utc="2026-02-03T12:00:00Z", galaxy_kind=kind
        )
    return path


def judged(path: Path) -> BankReport:
    return check_bank(path, task=TASK, grid=Grid(96, SCALE))


def outcomes(report: BankReport) -> dict[str, str]:
    return {check.key: check.outcome for check in report.checks}


def failures(report: BankReport) -> set[str]:
    return {check.key for check in report.failed}
