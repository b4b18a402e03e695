"""Schema of `inject.py task=one`: one stamp, looked at from all sides."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from dhs.config.base import PositiveFloat, Section

Mag = Annotated[float, Field(ge=10, le=40)]
Shear = Annotated[float, Field(gt=-0.5, lt=0.5)]
PsfFwhm = Annotated[float, Field(ge=0.3, le=6)]
PsfEllipticity = Annotated[float, Field(ge=-0.5, le=0.5)]
OffsetArcsec = Annotated[float, Field(ge=-60, le=60)]


class RecipeKeys(Section):
    """Parts of a recipe, named as the columns of every recipe table. What is null comes from the galaxy or from the
    priors, drawn once by the seed as a test stamp is; what depends on a given value (the source's place on theta_E,
    say) is drawn for that value."""

    injected: bool = Field(True, description="false: a control, the galaxy as it is")
    theta_e_arcsec: Annotated[float, Field(gt=0, le=20)] | None = None
    axis_ratio: Annotated[float, Field(ge=0.05, le=1)] | None = None
    phi_rad: float | None = Field(None, description="major axis of the mass, counter-clockwise from +x")
    gamma1: Shear | None = None
    gamma2: Shear | None = None
    lens_x_arcsec: OffsetArcsec | None = None
    lens_y_arcsec: OffsetArcsec | None = None
    z_lens: PositiveFloat | None = Field(None, description="recorded; theta_E does not follow it")
    z_source: PositiveFloat | None = Field(None, description="recorded; sets the colour of colour=seed_sed")
    source_index: Annotated[int, Field(ge=0)] | None = None
    source_x_arcsec: OffsetArcsec | None = Field(None, description="source plane, from the stamp's centre")
    source_y_arcsec: OffsetArcsec | None = None
    source_rotation_rad: float | None = None
    source_g_mag: Mag | None = Field(None, description="unlensed AB; null: the drawn colour at the given r")
    source_r_mag: Mag | None = None
    source_z_mag: Mag | None = Field(None, description="as source_g_mag")
    psf_fwhm_g_arcsec: PsfFwhm | None = Field(None, description="of the arc's PSF; null: the galaxy's own")
    psf_fwhm_r_arcsec: PsfFwhm | None = None
    psf_fwhm_z_arcsec: PsfFwhm | None = None
    psf_g_e1: PsfEllipticity | None = None
    psf_r_e1: PsfEllipticity | None = None
    psf_z_e1: PsfEllipticity | None = None
    psf_g_e2: PsfEllipticity | None = None
    psf_r_e2: PsfEllipticity | None = None
    psf_z_e2: PsfEllipticity | None = None

    def given(self) -> dict[str, float]:
        """The columns that the user set."""
        return {name: value for name, value in self if name != "injected" and value is not None}

    @model_validator(mode="after")
    def _controls_have_no_arc(self) -> "RecipeKeys":
        if not self.injected and self.given():
            raise ValueError(f"injected = false: a control has no arc; remove {', '.join(self.given())}")
        return self


class OneTask(Section):
    """One stamp as FITS and PNG: the galaxy before, the arc alone, both, and the recipe in the header."""

    name: Literal["one"]
    stream: Annotated[int, Field(ge=0)] | None = Field(None, description="index of a sample of the training stream")
    purpose: Literal["train", "val", "test"] = Field("train", description="whose stream")
    epoch: Annotated[int, Field(ge=0)] = Field(0, description="of the stream; val and test have only 0")
    manifest: str | None = Field(None, description="Parquet of task=manifest, path or URL; with row or task_id")
    row: Annotated[int, Field(ge=0)] | None = Field(None, description="of the manifest, or of a file of cutouts")
    task_id: str | None = Field(None, description="of the manifest")
    recipe: RecipeKeys | None = Field(None, description="{theta_e_arcsec: 1.2, ...}: the rest is drawn by the seed")
    target_id: int | None = Field(None, description="galaxy of the sky for recipe; null: one of its LRGs, by the seed")
    cutout: str | None = Field(None, description="FITS or NPZ with the galaxy for recipe, instead of the sky's")
    output: Path = Field(description="FITS; a PNG is written beside it")

    @model_validator(mode="after")
    def _one_way_to_say_which(self) -> "OneTask":
        by_recipe = [key for key in ("recipe", "target_id", "cutout") if getattr(self, key) is not None]
        ways = [key for key in ("stream", "manifest") if getattr(self, key) is not None] + by_recipe[:1]
        if len(ways) != 1:
            what = "no stamp is asked for" if not ways else f"task.{' and task.'.join(ways)} ask for different stamps"
            raise ValueError(
                f"name = one: {what}; give task.stream=INDEX, or task.manifest=FILE with task.row=N or "
                "task.task_id=ID, or task.recipe={theta_e_arcsec: 1.2} on task.target_id=ID or task.cutout=FILE"
            )
        return self

    @model_validator(mode="after")
    def _keys_belong(self) -> "OneTask":
        if self.manifest is not None and (self.row is None) == (self.task_id is None):
            raise ValueError(f"manifest = {self.manifest}: give one of task.row=N and task.task_id=ID")
        if self.manifest is None and self.task_id is not None:
            raise ValueError(f"task_id = {self.task_id}: needs task.manifest=FILE")
        if self.row is not None and self.manifest is None and self.cutout is None:
            raise ValueError(f"row = {self.row}: needs task.manifest=FILE or task.cutout=FILE")
        if self.cutout is not None and self.target_id is not None:
            raise ValueError(f"target_id = {self.target_id}: is of the sky; task.cutout brings its own galaxy")
        if self.stream is None and (self.purpose != "train" or self.epoch > 0):
            raise ValueError(f"purpose = {self.purpose}, epoch = {self.epoch}: are of a stream; give task.stream=INDEX")
        if self.purpose != "train" and self.epoch > 0:
            raise ValueError(f"epoch = {self.epoch}: the {self.purpose} set is the same in every epoch; leave it 0")
        if self.output.suffix not in (".fits", ".fit"):
            raise ValueError(f"output = {self.output}: must end in .fits (a PNG is written beside it)")
        return self
