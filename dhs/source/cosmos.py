"""Builds a bank of real HST galaxies from a GalSim RealGalaxyCatalog (COSMOS F814W: 25.2, 23.5, or the example).

catalogue (`catalog`) -> keyed order (`sampling`) -> every row read (`pictures`), drawn with a round PSF (`painter`) and
cleaned (`clean`), on all cores, in parts kept in a journal (`build_pool`, `journal`) -> HDF5 (`bank`).
The bank is a function of catalogue and configuration: not of the number of processes, nor of kills on the way.

Run: ``python inject.py task=bank source=cosmos source.catalog_dir=COSMOS_25.2_training_sample``.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import numpy as np

from dhs.config.source import CosmosSource
from dhs.source.build_pool import Progress, Tried, images_of, try_galaxies
from dhs.source.candidates import BadCatalog
from dhs.source.catalog import FITTED, RealCatalog, read_catalog
from dhs.source.journal import Journal
from dhs.source.sampling import cells, keyed_order, share_alike

MIN_SOURCES = 10
"""Fewer acceptable galaxies than this make no bank."""
CODE_VERSION = 1
"""Raise it with every change of what a template looks like: parts of older journals are then left alone."""


@dataclass(frozen=True)
class BankSummary:
    """What `build_cosmos_bank` did."""

    path: Path
    n_sources: int
    n_asked: int
    n_tried: int
    rejected: dict[str, int]
    """Refused galaxies by reason, see `dhs.source.clean.REASONS`."""
    n_not_chosen: int
    """Acceptable galaxies that `choice=stratified` left out."""
    median_hlr_ratio: float
    """Measured over catalogue half-light radius; NaN without a table of fits."""
    scatter_hlr_ratio: float
    """Standard deviation of that ratio."""
    max_pedestal_fraction: float
    max_halo_fraction: float
    """Most light outside the galaxy's isophote: an upper bound to the background left in any source's rim."""

    def __str__(self) -> str:
        reasons = ", ".join(f"{name} {count}" for name, count in self.rejected.items() if count)
        short = "" if self.n_sources == self.n_asked else f" ({self.n_asked} asked: the catalogue is exhausted)"
        left = f" ({self.n_not_chosen} acceptable, not chosen)" if self.n_not_chosen else ""
        return (
            f"{self.path}: {self.n_sources} sources{short} of {self.n_tried} tried{left}; "
            f"refused: {reasons or 'none'}; "
            f"HLR / catalogue {self.median_hlr_ratio:.3f} +- {self.scatter_hlr_ratio:.3f}; "
            f"pedestal <= {self.max_pedestal_fraction:.2%}, light outside the isophote {self.max_halo_fraction:.2%}"
        )


def build_cosmos_bank(config: CosmosSource, *, progress: Progress | None = None) -> BankSummary:
    """Build ``config.bank`` from ``config.catalog_dir``; ``progress`` is called after each part of the catalogue.

    A build that was killed continues where it was. An exhausted catalogue is no error while MIN_SOURCES galaxies are
    accepted; the summary says so.

    Raises:
        FileNotFoundError: the catalogue or a picture file is missing.
        ValueError: a damaged file, too few acceptable galaxies, or another process builds this bank.
    """
    from dhs.source.bank import write_bank  # torch, which worker processes have no use for

    catalog = read_catalog(config.catalog_dir, name=config.catalog_file)
    _check_choice(config, catalog=catalog)
    journal = Journal(config.bank_file, decides=_decides(config, catalog=catalog))
    journal.open()
    try:
        tried = _tried(config, catalog=catalog, journal=journal, progress=progress)
        chosen = _chosen(config, catalog=catalog, tried=tried)
        meta = _columns(catalog, tried=tried, chosen=chosen)
        images = images_of(
            tried,
            rows=tried.rows[chosen],
            journal=journal,
            dtype=config.build.dtype,
            stamp_size_px=config.stamp_size_px,
        )
        write_bank(config.bank_file, images=images, meta=meta, attributes=_attributes(config, catalog=catalog))
        journal.remove()
    except BadCatalog:
        journal.remove()  # mended files are another catalogue: nothing would come back for these parts
        raise
    finally:
        journal.close()
    return _summary(config, tried=tried, meta=meta)


def _tried(config: CosmosSource, *, catalog: RealCatalog, journal: Journal, progress: Progress | None) -> Tried:
    """Enough acceptable galaxies, in the keyed order; BadCatalog where there are too few."""
    build = config.build
    share = build.strata.candidates_per_source if build.choice == "stratified" else 1.0
    order = keyed_order(len(catalog.ident), seed=build.seed, max_tries=build.max_tries)
    tried = try_galaxies(
        catalog,
        config=config,
        order=order,
        n_wanted=int(np.ceil(share * build.n_sources)),
        journal=journal,
        progress=progress,
    )
    needed = min(MIN_SOURCES, build.n_sources)
    if len(tried.rows) < needed:
        counted = ", ".join(f"{reason} {count}" for reason, count in tried.rejected.items() if count)
        raise BadCatalog(
            f"{catalog.file}: only {len(tried.rows)} acceptable galaxies among {tried.n_tried} (refused: {counted}), "
            f"{needed} needed; relax source.build (min_snr, half_light_radius_arcsec) or take a larger catalogue"
        )
    return tried


def _chosen(config: CosmosSource, *, catalog: RealCatalog, tried: Tried) -> np.ndarray:
    """Positions in ``tried`` of the bank's sources, ascending."""
    build = config.build
    if build.choice == "uniform":
        return np.arange(len(tried.rows))
    cell = cells(
        zphot=catalog.zphot[tried.rows],
        hlr_arcsec=tried.columns["hlr_arcsec"],
        clumpiness=tried.columns["clumpiness"],
        strata=build.strata,
    )
    return share_alike(cell, n=build.n_sources)


def _check_choice(config: CosmosSource, *, catalog: RealCatalog) -> None:
    if config.build.choice == "stratified" and config.build.strata.zphot and np.isnan(catalog.zphot).all():
        raise ValueError(
            f"source.build.choice = stratified: {catalog.file} has no table of fits and so no redshifts; put its "
            f"{catalog.file.stem}_fits.fits beside it, or set source.build.strata.zphot=[]"
        )


def _decides(config: CosmosSource, *, catalog: RealCatalog) -> dict[str, object]:
    """Everything a template depends on, and which galaxies are tried: the journal's key."""
    return {
        "code_version": CODE_VERSION,
        "stamp_size_px": config.stamp_size_px,
        "pixel_scale_arcsec": config.pixel_scale_arcsec,
        "build": config.build.model_dump(mode="json", exclude={"num_processes", "dtype"}),
        "catalog": [catalog.file.name, catalog.checksum, catalog.pictures_checksum],
        "galsim": _galsim_version() if config.build.whiten else "",
    }


def _columns(catalog: RealCatalog, *, tried: Tried, chosen: np.ndarray) -> dict[str, np.ndarray]:
    """The bank's ``meta`` columns."""
    rows = tried.rows[chosen]
    columns: dict[str, np.ndarray] = {name: column[chosen] for name, column in tried.columns.items()}
    for name in ("mag_auto", *FITTED):
        ours = "catalog_hlr_arcsec" if name == "hlr_arcsec" else name  # hlr_arcsec is the measured one
        columns[ours] = getattr(catalog, name)[rows].astype(np.float32)
    columns["index"] = rows
    columns["ident"] = catalog.ident[rows]
    return columns


def _attributes(config: CosmosSource, *, catalog: RealCatalog) -> dict[str, str | int | float]:
    """The bank's file attributes."""
    return {
        "src_pixscale_arcsec": config.pixel_scale_arcsec,
        "stamp_size": config.stamp_size_px,
        "created_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "galaxy_kind": "real",
        "build": json.dumps(config.build.model_dump(mode="json", exclude={"num_processes"})),
        "catalog": catalog.file.name,
        "catalog_checksum": catalog.checksum,
        "pictures_checksum": catalog.pictures_checksum,
        "code_version": CODE_VERSION,
        "galsim_version": _galsim_version(),
    }


def _galsim_version() -> str:
    """Of the GalSim beside us, which only whitening calls."""
    try:
        return metadata.version("galsim")
    except metadata.PackageNotFoundError:
        return "not installed"


def _summary(config: CosmosSource, *, tried: Tried, meta: dict[str, np.ndarray]) -> BankSummary:
    ratio = meta["hlr_arcsec"] / meta["catalog_hlr_arcsec"]
    return BankSummary(
        path=config.bank_file,
        n_sources=len(ratio),
        n_asked=config.build.n_sources,
        n_tried=tried.n_tried,
        rejected=tried.rejected,
        n_not_chosen=len(tried.rows) - len(ratio),
        median_hlr_ratio=float(np.median(ratio)),
        scatter_hlr_ratio=float(np.std(ratio)),
        max_pedestal_fraction=float(meta["pedestal_fraction"].max()),
        max_halo_fraction=float(np.abs(meta["halo_fraction"]).max()),
    )
