"""Schema of `inject.py task=degrade`: HST images through a model of the survey."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from dhs.config.base import PerBand, PositiveFloat, Section


class BandColours(Section):
    """Magnitude in each survey band minus that in the image's own band."""

    g: float
    r: float
    z: float


class DegradeTask(Section):
    """An HST image of a real lens or galaxy becomes a DR10-like cutout, labelled as simulated."""

    name: Literal["degrade"]
    images: Annotated[tuple[Path, ...], Field(min_length=1)] = Field(description="FITS or HDF5, one object each")
    psf: Path = Field(description="PSF image of the sharper telescope, on the images' pixels")
    pixel_scale_arcsec: PositiveFloat | None = Field(None, description="null: from the header")
    zero_point_ab_mag: float | None = Field(None, description="null: from PHOTFLAM and PHOTPLAM")
    stamp_size_px: Annotated[int, Field(ge=32, le=256)] = 64
    psf_fwhm_arcsec: PerBand = Field((1.29, 1.18, 1.11), description="effective PSF (psfsize) g, r, z")
    psf_depth_mag: PerBand = Field((24.75, 24.25, 23.35), description="5-sigma point source, AB: DECaLS")
    noise_correlation: Annotated[float, Field(ge=0, le=0.45)] = 0.13
    blank_sky: tuple[Path, ...] = Field(
        (), description="NPZ/FITS files of real survey pixels: their emptiest windows are the noise; empty: modelled"
    )
    lens_colour: BandColours = Field(
        BandColours(g=1.7, r=0.45, z=-0.25), description="early type at z = 0.2 minus F814W (AB)"
    )
    arc_colour: BandColours = Field(
        BandColours(g=0.55, r=0.25, z=-0.05), description="blue source (g-r 0.3, r-z 0.3) minus F814W"
    )
    seed: Annotated[int, Field(ge=0)] = 1
    output: Path = Field(description="NPZ for sky=files and anchors.cutouts; a PNG beside it")
