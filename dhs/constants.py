"""Survey constants, each with its unit and source. Every other module imports them from here."""

BANDS: tuple[str, ...] = ("g", "r", "z")
"""Band order of every image array (band, y, x)."""

PIXEL_SCALE_ARCSEC = 0.262
"""Legacy Survey coadd pixel (legacysurvey.org/dr10/description)."""

AB_ZERO_POINT_MAG = 22.5
"""A nanomaggie is an AB magnitude of 22.5: flux = 10**((22.5 - mag) / 2.5)."""

SOURCE_PIXEL_SCALE_ARCSEC = 0.03
"""Source templates: the HST/ACS drizzled scale."""

DARK_SKY_MAG_ARCSEC2: tuple[float, float, float] = (22.04, 20.91, 18.46)
"""DECam's nominal sky in g, r, z, AB mag/arcsec^2 (`sky0` of the Legacy Survey's obsbot, decam.py): what turns a
coadd's invvar into a gain. On a real DR9 patch the gain so derived is 0.7 (g) and 1.0 (r) of that read from the
source noise in its invvar (`dhs.inject.arc_noise`)."""

TAPER_END_FRACTION = 0.97
"""Radius at which every source template has reached zero, in half boxes."""
TAPER_START_FRACTION = 0.8
"""Where that taper begins, as a fraction of the radius where it ends."""

BAD_MASKBITS: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6, 7, 10, 11)
"""DR10 MASKBITS that make a pixel bad (SCIENCE: NPRIMARY, BRIGHT, SATUR_*, ALLMASK_*, BAILOUT, MEDIUM)."""

MAD_TO_SIGMA = 1.4826
"""Standard deviation of a Gaussian over its median absolute deviation."""

CLASSES: tuple[str, ...] = ("lrg", "lrg_companion", "spiral", "ring", "merger", "edge_on")
"""Named galaxy classes; a cutout's `kind` is an index into this tuple."""

SPLITS: tuple[str, ...] = ("train", "val", "test")
"""Sky splits; a cutout's `split` is an index into this tuple."""

VISIBLE_MIN_THETA_E_OVER_PSF = 1.2
"""theta_E over the r-band FWHM above which arcs separate from the lens (Rojas+2023; SCIENCE section 6)."""

VISIBLE_MIN_ARC_SNR_SUM_G = 25.0
"""Integrated g-band S/N of the arc above which it is "DECaLS-visible" (Rojas+2023; SCIENCE section 6)."""
