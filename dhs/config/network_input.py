"""Schema of `preprocess= augment=`: what a network sees of a stamp."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from dhs.config.base import Fraction, PositiveFloat, Section

Channel = Literal["g", "r", "z", "g-r", "g-z", "residual_g", "residual_r", "residual_z"]


class PreprocessConfig(Section):
    """Per-band outer-annulus normalisation, channels, clip, stretch (SCIENCE section 5)."""

    annulus_inner_fraction: Annotated[float, Field(gt=0.2, lt=0.95)] = Field(
        0.5, description="inner radius in half-sizes: 0.5 is 16 px of a 64-px stamp"
    )
    clip: Literal["none", "hard", "soft"] = Field(
        "none", description="beyond clip_sigma. hard: cut; soft: logarithmic, so that nothing is lost"
    )
    clip_sigma: PositiveFloat = Field(50.0, description="a hard clip at 10 cuts bright arcs")
    stretch: Literal["none", "asinh", "sqrt"] = "asinh"
    stretch_scale_sigma: PositiveFloat = Field(3.0, description="where the stretch leaves the linear part")
    channels: Annotated[tuple[Channel, ...], Field(min_length=1)] = ("g", "r", "z")
    difference_k: Annotated[float, Field(gt=0, le=2)] = Field(0.6, description="k of g - k r and g - k z")
    difference_fit: bool = Field(
        False, description="take k from each galaxy's own light instead; difference_k where it is too faint to say"
    )
    difference_fit_radius_fraction: Annotated[float, Field(gt=0.05, lt=0.95)] = Field(
        0.25, description="of the fit's aperture, in half-sizes: 0.25 is 8 px of a 64-px stamp"
    )
    residual: Literal["azimuthal_mean", "azimuthal_median", "blur"] = Field(
        "azimuthal_mean", description="what residual_* channels take away from the band"
    )
    residual_blur_px: Annotated[float, Field(gt=0.3, le=16)] = Field(3.0, description="sigma of residual=blur")

    @field_validator("clip_sigma", mode="before")
    @classmethod
    def _no_clip_was_null(cls, value: object) -> object:
        return 50.0 if value is None else value  # checkpoints from before `clip` existed

    @model_validator(mode="after")
    def _each_channel_once(self) -> "PreprocessConfig":
        twice = sorted({channel for channel in self.channels if self.channels.count(channel) > 1})
        if twice:
            raise ValueError(f"channels = {', '.join(self.channels)}: {', '.join(twice)} is listed twice")
        return self


class AugmentConfig(Section):
    """Changes of a training stamp that keep its label: drawn for each stamp and epoch, never from the label."""

    dihedral: bool = Field(True, description="quarter turns and mirror images")
    max_shift_px: Annotated[int, Field(ge=0, le=16)] = Field(2, description="whole pixels, edges mirrored")
    max_subpixel_shift_px: Annotated[float, Field(ge=0, le=2)] = Field(
        0.0, description="by cubic splines, with the noise that they take away put back"
    )
    max_rotation_deg: Annotated[float, Field(ge=0, le=45)] = Field(0.0, description="either way; as above")
    max_psf_blur_arcsec: Annotated[float, Field(ge=0, le=2)] = Field(
        0.0, description="FWHM of an extra Gaussian, added in quadrature to the seeing: blur only, never sharpening"
    )
    max_depth_loss_mag: Annotated[float, Field(ge=0, le=2)] = Field(
        0.0, description="added noise, relative to the coadd's own: never deeper"
    )
    core_dropout_probability: Fraction = Field(0.0, description="of masking the galaxy's centre")
    core_dropout_max_radius_px: Annotated[float, Field(gt=0, le=8)] = Field(
        2.0, description="uniform up to here; beyond the smallest theta_E it would hide arcs and keep their label"
    )

    @property
    def changes_pixels(self) -> bool:
        """Whether anything but whole-pixel moves is on."""
        return any(
            (
                self.max_subpixel_shift_px,
                self.max_rotation_deg,
                self.max_psf_blur_arcsec,
                self.max_depth_loss_mag,
                self.core_dropout_probability,
            )
        )
