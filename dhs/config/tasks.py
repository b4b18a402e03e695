"""Schema of `task=`: what `inject.py` can be asked to do; a function of the same name in `dhs.commands` does it."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from dhs.config.bank_check import BankCheckTask
from dhs.config.base import Section
from dhs.config.compact import CompactTask
from dhs.config.cutouts import CutoutsTask
from dhs.config.degrade import DegradeTask
from dhs.config.manifest import ManifestTask
from dhs.config.one import OneTask
from dhs.config.stamps import StampsTask
from dhs.config.targets import TargetsTask
from dhs.config.validate import ValidateTask


class BankTask(Section):
    """Build a source bank from a GalSim RealGalaxyCatalog."""

    name: Literal["bank"]


class SheetTask(Section):
    """Draw a contact sheet of injected stamps, with the arc alone: look before you train."""

    name: Literal["sheet"]
    n_stamps: Annotated[int, Field(ge=1, le=400)] = 24
    output: Path = Field(description="PNG; a CSV of the recipes is written beside it")


class GalleryTask(Section):
    """A page of stamps of the sky as it is, in the Legacy Survey viewer's colours."""

    name: Literal["gallery"]
    list: Path | None = Field(None, description="CSV (name, ra_deg, dec_deg): only these objects; null: the whole sky")
    n_stamps: Annotated[int, Field(ge=1, le=5000)] = 240
    output: Path = Field(description="HTML page, self-contained")


class SelfcheckTask(Section):
    """Check the physics of this configuration against lenstronomy, formulae and itself; exit 1 when a check fails."""

    name: Literal["selfcheck"]
    output_dir: Path = Field(description="selfcheck.json and selfcheck.html are written here")
    max_galaxies: Annotated[int, Field(ge=40)] = Field(256, description="of the sky; enough for every check")
    n_stamps: Annotated[int, Field(ge=16, le=1000)] = Field(48, description="injected stamps that are looked at")
    n_reference: Annotated[int, Field(ge=4, le=1000)] = Field(12, description="of them compared with lenstronomy")


TaskConfig = Annotated[
    BankTask
    | BankCheckTask
    | SheetTask
    | GalleryTask
    | DegradeTask
    | TargetsTask
    | SelfcheckTask
    | CutoutsTask
    | ManifestTask
    | OneTask
    | StampsTask
    | CompactTask
    | ValidateTask,
    Field(discriminator="name"),
]
