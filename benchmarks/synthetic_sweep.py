"""A sweep file with the columns and dtypes of DR10's, and galaxies drawn like its own: for benchmarks and tests.

Columns: legacysurvey.org/dr10/files, "sweep catalogs" (without its newest photometry columns); 128 columns, 484 bytes a
row, big-endian.
"""

from pathlib import Path

import numpy as np
from astropy.io import fits

BANDS, WISE = ("G", "R", "I", "Z"), ("W1", "W2", "W3", "W4")

EXTINCTION = {"G": 3.214, "R": 2.165, "I": 1.592, "Z": 1.211, "W1": 0.184, "W2": 0.113, "W3": 0.0241, "W4": 0.00910}
"""A / E(B-V)_SFD (legacysurvey.org/dr10/catalogs)."""

BRICK_DEG = 0.25


def _named(prefix: str, bands: tuple[str, ...], kind: str) -> list[tuple[str, str]]:
    return [(f"{prefix}_{band}", kind) for band in bands]


FIELDS: list[tuple[str, str]] = [
    ("RELEASE", ">i2"),
    ("BRICKID", ">i4"),
    ("BRICKNAME", "S8"),
    ("OBJID", ">i4"),
    ("TYPE", "S3"),
    *((name, ">f8") for name in ("RA", "DEC")),
    *((name, ">f4") for name in ("RA_IVAR", "DEC_IVAR")),
    *((f"DCHISQ_{i}", ">f4") for i in range(5)),
    ("EBV", ">f4"),
    *_named("FLUX", BANDS + WISE, ">f4"),
    *_named("FLUX_IVAR", BANDS + WISE, ">f4"),
    *_named("MW_TRANSMISSION", BANDS + WISE, ">f4"),
    *_named("NOBS", BANDS + WISE, ">i2"),
    *_named("RCHISQ", BANDS + WISE, ">f4"),
    *_named("FRACFLUX", BANDS + WISE, ">f4"),
    *_named("FRACMASKED", BANDS, ">f4"),
    *_named("FRACIN", BANDS, ">f4"),
    *_named("ANYMASK", BANDS, ">i2"),
    *_named("ALLMASK", BANDS, ">i2"),
    *_named("WISEMASK", ("W1", "W2"), "u1"),
    *_named("PSFSIZE", BANDS, ">f4"),
    *_named("PSFDEPTH", BANDS, ">f4"),
    *_named("GALDEPTH", BANDS, ">f4"),
    *_named("PSFDEPTH", ("W1", "W2"), ">f4"),
    ("WISE_COADD_ID", "S8"),
    *((f"SHAPE_{name}", ">f4") for name in ("R", "R_IVAR", "E1", "E1_IVAR", "E2", "E2_IVAR")),
    *((name, ">f4") for name in ("SERSIC", "SERSIC_IVAR")),
    *_named("FIBERFLUX", BANDS, ">f4"),
    *_named("FIBERTOTFLUX", BANDS, ">f4"),
    ("REF_CAT", "S2"),
    ("REF_ID", ">i8"),
    *(
        (name, ">f4")
        for name in ("REF_EPOCH", "GAIA_PHOT_G_MEAN_MAG", "GAIA_PHOT_BP_MEAN_MAG", "GAIA_PHOT_RP_MEAN_MAG")
    ),
    *((name, ">f4") for name in ("GAIA_ASTROMETRIC_EXCESS_NOISE", "PARALLAX", "PARALLAX_IVAR", "PMRA", "PMRA_IVAR")),
    *((name, ">f4") for name in ("PMDEC", "PMDEC_IVAR")),
    ("GAIA_DUPLICATED_SOURCE", "?"),
    ("MASKBITS", ">i4"),
    ("FITBITS", ">i2"),
]


def sweep_rows(n_rows: int, *, seed: int, ra_deg: float = 150.0, dec_deg: float = -10.0) -> np.ndarray:
    """``n_rows`` records of a patch whose lower corner is at ``ra_deg``, ``dec_deg``, in brick order."""
    rng = np.random.default_rng([seed, n_rows])
    rows = np.zeros(n_rows, dtype=FIELDS)
    n_bricks = max(1, n_rows // 5000)
    side = int(np.ceil(np.sqrt(n_bricks)))
    brick = np.sort(rng.integers(0, n_bricks, n_rows))
    centre_ra = ra_deg + BRICK_DEG * (brick % side + 0.5)
    centre_dec = dec_deg + BRICK_DEG * (brick // side + 0.5)
    rows["RELEASE"], rows["BRICKID"] = 10000, 300_000 + 1000 * int(ra_deg) + brick
    names = np.array([brick_name(*centre) for centre in np.unique(np.stack([centre_ra, centre_dec]), axis=1).T])
    _, inverse = np.unique(np.stack([centre_ra, centre_dec]), axis=1, return_inverse=True)
    rows["BRICKNAME"] = names[inverse]
    rows["OBJID"] = np.arange(n_rows) - np.searchsorted(brick, brick)
    half = 0.5 * BRICK_DEG
    rows["RA"] = (centre_ra + rng.uniform(-half, half, n_rows)) % 360.0
    rows["DEC"] = centre_dec + rng.uniform(-half, half, n_rows)
    _draw_conditions(rows, rng, n_bricks=n_bricks, brick=brick)
    _draw_galaxies(rows, rng)
    return rows


def brick_name(ra_deg: float, dec_deg: float) -> str:
    """1500m100 of RA 150.0, Dec -10.0 (truncated to 0.1 degrees, as the survey does)."""
    return f"{int(ra_deg * 10):04d}{'m' if dec_deg < 0 else 'p'}{int(abs(dec_deg) * 10):03d}"


def _draw_conditions(rows: np.ndarray, rng: np.random.Generator, *, n_bricks: int, brick: np.ndarray) -> None:
    """Seeing, depth, exposures and dust vary between bricks, a little within."""
    n = len(rows)
    rows["EBV"] = (0.01 + 0.1 * rng.beta(2, 5, n_bricks))[brick]
    for band in BANDS + WISE:
        rows[f"MW_TRANSMISSION_{band}"] = 10.0 ** (-0.4 * EXTINCTION[band] * rows["EBV"])
    exposures = rng.integers(1, 8, n_bricks)
    for band, seeing, depth in (("G", 1.29, 24.2), ("R", 1.18, 23.7), ("I", 1.1, 23.4), ("Z", 1.11, 22.9)):
        rows[f"NOBS_{band}"] = np.maximum(1, exposures + rng.integers(-1, 2, n_bricks))[brick]
        rows[f"PSFSIZE_{band}"] = seeing * (1 + 0.1 * rng.standard_normal(n_bricks))[brick]
        mag = depth + 1.25 * np.log10(rows[f"NOBS_{band}"] / 2.0) + 0.02 * rng.standard_normal(n)
        rows[f"PSFDEPTH_{band}"] = 25.0 * 10.0 ** ((2 * mag - 45.0) / 2.5)
        rows[f"GALDEPTH_{band}"] = 0.6 * rows[f"PSFDEPTH_{band}"]


def _draw_galaxies(rows: np.ndarray, rng: np.random.Generator) -> None:
    n = len(rows)
    types = rng.choice(np.array([b"PSF", b"REX", b"DEV", b"EXP", b"SER"]), n, p=[0.45, 0.3, 0.08, 0.1, 0.07])
    rows["TYPE"] = types
    is_red = rng.random(n) < 0.25
    z_mag = np.minimum(23.0, 17.0 + rng.exponential(3.0, n))
    r_z = np.where(is_red, rng.normal(1.1, 0.3, n), rng.normal(0.3, 0.2, n))
    g_r = np.where(is_red, rng.normal(1.4, 0.2, n), rng.normal(0.5, 0.25, n))
    z_w1 = np.where(is_red, rng.normal(1.3, 0.3, n), rng.normal(0.2, 0.4, n))
    mags = {"Z": z_mag, "R": z_mag + r_z, "G": z_mag + r_z + g_r, "I": z_mag + 0.4 * r_z, "W1": z_mag - z_w1}
    for band, mag in mags.items():
        rows[f"FLUX_{band}"] = 10.0 ** ((22.5 - mag) / 2.5) * rows[f"MW_TRANSMISSION_{band}"]
    extended = types != b"PSF"
    shaped = np.isin(types, (b"DEV", b"EXP", b"SER"))
    rows["SHAPE_R"] = np.where(extended, np.minimum(9.0, rng.lognormal(-0.2, 0.7, n)), 0.0)
    ellipticity, angle = np.where(shaped, rng.beta(1.5, 3.0, n), 0.0), rng.uniform(0, np.pi, n)
    rows["SHAPE_E1"], rows["SHAPE_E2"] = ellipticity * np.cos(2 * angle), ellipticity * np.sin(2 * angle)
    rows["SERSIC"] = np.select(
        [types == b"SER", types == b"DEV", extended], [rng.uniform(0.5, 6.0, n), 4.0, 1.0], default=0.0
    )
    for bit, share in ((1, 0.02), (5, 0.03), (11, 0.02), (12, 0.01)):
        rows["MASKBITS"] |= (rng.random(n) < share).astype(">i4") << bit
    for bit, share in ((0, 0.003), (2, 0.002), (9, 0.005)):
        rows["FITBITS"] |= ((rng.random(n) < share).astype(np.int16) << bit).astype(">i2")


def write_sweep(path: Path, rows: np.ndarray) -> Path:
    """``rows`` as the first extension of a FITS file (gzipped where the name ends in .gz)."""
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU(rows)]).writeto(path, overwrite=True)
    return path
