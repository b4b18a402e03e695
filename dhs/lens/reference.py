"""The slow reference: lenstronomy, on the same sample points. The only file that imports it.

A new light model is built for every image: lenstronomy's INTERPOL caches its first image for ever.
"""

import numpy as np


def lenstronomy_arc(
    template: np.ndarray,
    *,
    theta_e_arcsec: float,
    axis_ratio: float,
    phi_rad: float,
    gamma1: float,
    gamma2: float,
    lens_x_arcsec: float,
    lens_y_arcsec: float,
    source_x_arcsec: float,
    source_y_arcsec: float,
    source_rotation_rad: float,
    template_pixel_scale_arcsec: float,
    size_px: int,
    pixel_scale_arcsec: float,
    supersampling: int,
    kernel: np.ndarray | None,
) -> np.ndarray:
    """(size, size) float64 flux per pixel of a unit-flux ``template`` (S, S), lensed, convolved with ``kernel``.

    ``kernel`` (K, K), K odd, is used as it is (not normalised); None: no PSF. INTERPOL wants surface brightness,
    so the template is divided by its pixel's area.
    """
    from lenstronomy.Data.imaging_data import ImageData
    from lenstronomy.Data.psf import PSF
    from lenstronomy.ImSim.image_model import ImageModel
    from lenstronomy.LensModel.lens_model import LensModel
    from lenstronomy.LightModel.light_model import LightModel

    corner = -(size_px - 1) / 2 * pixel_scale_arcsec
    data = ImageData(
        image_data=np.zeros((size_px, size_px)),
        background_rms=1.0,
        exposure_time=1.0,
        ra_at_xy_0=corner,
        dec_at_xy_0=corner,
        transform_pix2angle=np.eye(2) * pixel_scale_arcsec,
    )
    psf = (
        PSF(psf_type="NONE")
        if kernel is None
        else PSF(psf_type="PIXEL", kernel_point_source=kernel, kernel_point_source_normalisation=False)
    )
    ellipticity = (1 - axis_ratio) / (1 + axis_ratio)
    lens = [
        {
            "theta_E": theta_e_arcsec,
            "e1": ellipticity * np.cos(2 * phi_rad),
            "e2": ellipticity * np.sin(2 * phi_rad),
            "center_x": lens_x_arcsec,
            "center_y": lens_y_arcsec,
        },
        {"gamma1": gamma1, "gamma2": gamma2, "ra_0": 0.0, "dec_0": 0.0},
    ]
    light = [
        {
            "image": np.asarray(template, dtype=np.float64) / template_pixel_scale_arcsec**2,
            "scale": template_pixel_scale_arcsec,
            "center_x": source_x_arcsec,
            "center_y": source_y_arcsec,
            "phi_G": source_rotation_rad,
            "amp": 1.0,
        }
    ]
    model = ImageModel(
        data,
        psf,
        lens_model_class=LensModel(["SIE", "SHEAR"]),
        source_model_class=LightModel(["INTERPOL"]),
        kwargs_numerics={"supersampling_factor": supersampling, "supersampling_convolution": False},
    )
    return model.image(lens, light)
