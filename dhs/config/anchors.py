"""Schema of `anchors=` and of the audit: lists of real lenses and hard negatives, and what they must pass."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from dhs.config.base import PositiveFloat, Section


class AnchorsCommon(Section):
    cutouts: tuple[Path, ...] = Field(
        (), description="a store made by inject.py task=cutouts, or NPZ/FITS files; empty: pixels are not checked"
    )
    grades: Path | None = Field(None, description="CSV (name, grade A|B|C): a human's visibility grades")
    known_lenses: Path | None = Field(
        None, description="second catalogue of lenses, CSV (name, ra_deg, dec_deg); null: lenscat's 32,838"
    )


class SlacsBellsAnchors(AnchorsCommon):
    """The 125 verified SLACS, S4TM and BELLS lenses that come with the package."""

    name: Literal["slacs_bells"]


class CsvAnchors(AnchorsCommon):
    """A user's list: CSV with name, ra_deg, dec_deg, and what else is known (dhs.sky.anchors)."""

    name: Literal["csv"]
    path: Path = Field(description="CSV of lenses, or of hard negatives (column kind)")


class SimulatedAnchors(Section):
    """The published lenses built in the mock sky. SIMULATED wherever it is shown: never a recall of real lenses."""

    name: Literal["simulated"]
    path: Path | None = Field(None, description="CSV of lenses (anchors=csv); null: the 125 of slacs_bells")
    realisations: Annotated[int, Field(ge=1, le=1000)] = Field(
        4, description="of each lens: host, field, noise, source and its place drawn anew"
    )
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0


class DegradedAnchors(AnchorsCommon):
    """HST images of lenses through the simulated telescope (inject.py task=degrade): never survey cutouts."""

    name: Literal["degraded"]
    path: Path | None = Field(None, description="CSV of the lenses (anchors=csv); null: the 125 of slacs_bells")


ListedAnchors = SlacsBellsAnchors | CsvAnchors | DegradedAnchors
"""Lists of lenses at positions, which can be audited."""

AnchorsConfig = Annotated[
    SlacsBellsAnchors | CsvAnchors | SimulatedAnchors | DegradedAnchors, Field(discriminator="name")
]


class AnchorsStage(Section):
    """Recall of the lenses that `anchors=` names, in task=all; what `anchors=` gives no cutouts of is not measured."""

    enabled: bool = True
    n_shown: Annotated[int, Field(ge=1, le=200, description="hits, and misses, that the report shows")] = 24


class AuditTask(Section):
    """Is there a lens, or a galaxy, at every position? Exit code 1 when one fails."""

    name: Literal["audit"]
    output: Path = Field(description="folder for audit.html, audit.csv and audit.json")
    jname_arcsec: PositiveFloat = Field(1.5, description="from the box of the object's own J-name")
    catalogue_arcsec: PositiveFloat = Field(3.0, description="from a lens of the second catalogue")
    centre_arcsec: PositiveFloat = Field(1.0, description="of the galaxy from the cutout's centre")
    max_r_mag: Annotated[float, Field(gt=10, lt=25)] = Field(20.0, description="faintest central galaxy")


class ScoreTask(Section):
    """Score the held-out sky of a checkpoint and write the report."""

    name: Literal["score"]
