"""Schema of `task=`: what `inject.py` can be asked to do; a function of the same name in `dhs.commands` does it."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from dhs.config.bank_check import BankCheckTask
from dhs.config.base import Section
from dhs.config.degrade import DegradeTask


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


TaskConfig = Annotated[BankTask | BankCheckTask | SheetTask | GalleryTask | DegradeTask, Field(discriminator="name")]
