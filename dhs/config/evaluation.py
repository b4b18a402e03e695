"""Schema of `evaluate=`: what is measured, on which scores, by which stages of `evaluate.py task=all`."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from dhs.config.anchors import AnchorsStage
from dhs.config.base import Fraction, Section
from dhs.config.explain import ExplainConfig
from dhs.config.gates import GatesConfig
from dhs.config.realism import RealismConfig
from dhs.config.selection import SelectionSettings

StageName = Literal["heldout", "calibration", "anchors", "negatives", "selection", "gates", "realism", "explain"]
"""Stages of `dhs.evaluate.stages`, in the order of the report."""


class CalibrationConfig(Section):
    """Where thresholds and probabilities come from: always sky that no claim is made on."""

    source: Literal["val", "test_part"] = "val"
    """val: the validation sky, which chose the checkpoint too (the report tests whether that shows); test_part: a
    part of the test galaxies, which then count nowhere else."""
    test_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Of the test galaxies that source=test_part takes, by the hash of their ids."""
    method: Literal["isotonic", "temperature"] = "isotonic"
    """logit -> probability."""
    lens_share: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of lenses that calibrated probabilities are for; null: that of the calibration stamps."""
    bins: Annotated[int, Field(ge=5, le=100)] = 15
    """Of equal number, for the expected calibration error and the reliability diagram."""


class HeldoutConfig(Section):
    """Injected lenses and negatives of the test sky."""

    enabled: bool = True


class NegativesConfig(Section):
    """False positives by class, of the test sky and of a list of the user's own."""

    enabled: bool = True
    store: tuple[Path, ...] = ()
    """Cutouts of known non-lenses (inject.py task=cutouts, or FITS/NPZ files); empty: the test sky only."""
    list: Path | None = None
    """CSV (name, ra_deg, dec_deg, kind) of them; needed with a store."""

    @model_validator(mode="after")
    def _store_and_list(self) -> "NegativesConfig":
        if bool(self.store) != (self.list is not None):
            raise ValueError("evaluate.negatives: store and list belong together; give both or neither")
        for path in (*self.store, *([self.list] if self.list else [])):
            if not path.exists():
                raise ValueError(f"evaluate.negatives: {path}: no such file or store")
        return self


class EvaluateConfig(Section):
    """What is measured on the held-out sky, and how."""

    enabled: bool = Field(True, description="train.py evaluates the best checkpoint when it has finished")
    stages: tuple[StageName, ...] | None = Field(
        None, description="null: all of them with task=all; those of after_training with task=score"
    )
    after_training: tuple[StageName, ...] = Field(
        ("heldout", "calibration", "negatives"), description="what train.py runs at its end, and task=score"
    )
    fprs: Annotated[tuple[Annotated[float, Field(gt=0, lt=1)], ...], Field(min_length=1)] = (1e-2, 1e-3, 1e-4)
    bin_fpr: Fraction = Field(1e-2, description="recall by bin and per-class rates are given at this FPR")
    bootstrap_resamples: Annotated[int, Field(ge=100, le=100_000)] = 1000
    batch_size: Annotated[int, Field(ge=1)] = 256
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="of the network; auto: a GPU where there is one")
    precision: Literal["float32", "bf16"] = Field(
        "float32", description="of the forward pass; head and scores are float32 in both"
    )
    tta: bool = Field(False, description="test-time averaging: mean logit of the stamp's eight orientations")
    wandb: Literal["auto", "off"] = Field(
        "auto", description="auto: the figures join the W&B run of the checkpoint, where it was trained with one"
    )
    calibration: CalibrationConfig = CalibrationConfig()
    heldout: HeldoutConfig = HeldoutConfig()
    anchors: AnchorsStage = AnchorsStage()
    negatives: NegativesConfig = NegativesConfig()
    selection: SelectionSettings = SelectionSettings()
    gates: GatesConfig = GatesConfig()
    realism: RealismConfig = RealismConfig()
    explain: ExplainConfig = ExplainConfig()


class AllTask(Section):
    """Everything that can be said of a finder: every stage, one report."""

    name: Literal["all"]


class GatesTask(Section):
    """The shortcut gates alone: exit code 1 when one fails, 3 when none fails and one cannot be told."""

    name: Literal["gates"]


class ReportTask(Section):
    """The report once more, from the scores that are there: no network, no sky."""

    name: Literal["report"]
    scores: Path | None = Field(None, description="the folder that task=all or task=score wrote (with scores/ in it)")


class ExternalTask(Section):
    """Somebody else's finder through the same analysis: a stamp set of ours, a file of their scores."""

    name: Literal["external"]
    stamps: str | None = Field(None, description="set of inject.py task=stamps: val calibrates, test is claimed on")
    scores: Path | None = Field(None, description="CSV or Parquet: id (the set's task_id), score and perhaps label")
    scale: Literal["probability", "logit", "rank"] = Field(
        "probability", description="of the scores; rank: any that rise with the finder's belief, of unknown meaning"
    )
    missing: Literal["refuse", "leave_out"] = Field(
        "refuse", description="stamps without a score; leave_out counts them in the report's warnings"
    )
