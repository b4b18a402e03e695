"""Root schemas: what `train.py`, `inject.py` and `evaluate.py` accept, with the rules that span groups."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from dhs.config.anchors import AnchorsConfig, AuditTask, ScoreTask, SimulatedAnchors
from dhs.config.bank_check import BankCheckTask
from dhs.config.base import Section
from dhs.config.colour import ColourConfig
from dhs.config.comparison import AblationTask, CompareTask
from dhs.config.engine import EngineConfig
from dhs.config.ensemble import EnsembleTask
from dhs.config.evaluation import AllTask, EvaluateConfig, ExternalTask, GatesTask, ReportTask
from dhs.config.injection import (
    InjectConfig,
    PsfConfig,
    RendererConfig,
)
from dhs.config.lens import GridLens, LensConfig
from dhs.config.manifest import GridDesign, ManifestTask
from dhs.config.mine import MineTask
from dhs.config.sky import Dr10Sky, FilesSky, SkyConfig, StampsSky, StoreSky
from dhs.config.source import BankedSource, CosmosSource, SourceConfig, StampsSource, elementary_sources
from dhs.config.targets import TargetsTask
from dhs.config.tasks import BankTask, TaskConfig
from dhs.config.training import (
    AugmentConfig,
    LoggerConfig,
    LossConfig,
    ModelConfig,
    OptimConfig,
    PreprocessConfig,
    TrainerConfig,
)
from dhs.config.validate import ValidateTask

MAX_PLANNED_TRIES = 100
"""Of `renderer.device=accelerator`: 100 tries take 10 kB an arc (60 kB where colours depend on the source)."""


class PathsConfig(Section):
    runs_dir: Path = Field(description="run directories are made here")
    cache_dir: Path = Field(description="drawn skies; safe to delete")
    cosmos_bank: str = Field("cosmos_bank.h5", description="what source=cosmos and source=hybrid read: a path or URL")


class InjectionRoot(Section):
    """Everything that decides a stamp."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$")] = Field(description="names the run directory")
    seed: Annotated[int, Field(ge=0, lt=2**31)]
    max_galaxies: Annotated[int, Field(ge=20)] | None = Field(None, description="use only the first N of the sky")
    sky: SkyConfig
    source: SourceConfig
    lens: LensConfig
    psf: PsfConfig
    colour: ColourConfig
    inject: InjectConfig
    renderer: RendererConfig
    paths: PathsConfig

    @model_validator(mode="after")
    def _acceptance_possible(self) -> "InjectionRoot":
        highest = max(self.lens.theta_e_arcsec) if isinstance(self.lens, GridLens) else self.lens.theta_e_arcsec.high
        asked = self.inject.acceptance.min_theta_e_over_psf
        if asked * 0.8 > highest:
            raise ValueError(
                f"inject.acceptance.min_theta_e_over_psf = {asked:g}: no lens up to theta_E {highest:g} arcsec "
                "can pass at a seeing above 0.8 arcsec; lower it or raise lens.theta_e_arcsec"
            )
        return self

    @model_validator(mode="after")
    def _psf_images_possible(self) -> "InjectionRoot":
        if self.psf.name == "survey" and not isinstance(self.sky, FilesSky | StampsSky):
            raise ValueError(f"psf = survey: sky = {self.sky.name} has no PSF images; use sky=files, or psf=moffat")
        return self

    @model_validator(mode="after")
    def _files_exist(self) -> "InjectionRoot":
        return self._check_files()

    @model_validator(mode="after")
    def _training_mix_possible(self) -> "InjectionRoot":
        real, hard = self.inject.real_positives.path, self.inject.negatives.hard.path
        for key, path in (("real_positives", real), ("negatives.hard", hard)):
            if path is not None and not path.exists():
                raise ValueError(f"inject.{key}.path = {path}: no such file or store (docs/negatives.md)")
        given = real or self.inject.negatives.ratio or self.inject.negatives.changes_the_mix
        if given and isinstance(self.sky, StampsSky):
            raise ValueError(
                "inject.negatives, inject.real_positives: sky=stamps is a finished set whose positives and negatives "
                "are what they are; leave them at null, or train on the fly"
            )
        return self

    def _check_files(self) -> Self:
        if isinstance(self.sky, Dr10Sky):
            raise ValueError(
                "sky = dr10: a catalogue without pixels; `python inject.py task=targets sky.sweep_dir=...` selects "
                "targets, then fetch their cutouts (docs/data.md)"
            )
        if isinstance(self.sky, FilesSky):
            for path in self.sky.paths:
                require_file("sky.paths", path, remedy="give files that exist (or set DHS_SHARED_DATA)")
        if isinstance(self.sky, StoreSky):
            remedy = "give a finished store, made with `python inject.py task=cutouts` (docs/sky.md)"
            if isinstance(self.sky.path, Path):  # what a URL names is looked for when it is fetched
                require_file("sky.path", self.sky.path / "store.json", remedy=remedy)
        if isinstance(self.sky, StampsSky):
            if "://" not in self.sky.path:
                remedy = (
                    "give a finished stamp set, of `python inject.py task=stamps` or task=compact (docs/compact.md)"
                )
                require_file("sky.path", Path(self.sky.path) / "_SUCCESS.json", remedy=remedy)
            return self  # nothing is injected: the source's files need not be here
        return self._check_banks()

    def _check_banks(self) -> Self:
        for key, source in elementary_sources(self.source):
            if isinstance(source, BankedSource):
                self._bank_available(source, key=key)
        return self

    @staticmethod
    def _bank_available(source: BankedSource, *, key: str) -> None:
        if not source.bank_is_absent:
            return
        if not isinstance(source, CosmosSource):
            raise ValueError(
                f"{key}.bank = {source.bank}: no such file; build it with `python inject.py task=bank source=stamps "
                "source.files=[...]` (docs/data.md)"
            )
        if not source.build_if_missing:
            raise ValueError(
                f"{key}.bank = {source.bank}: no such file; build it with `python inject.py task=bank source=cosmos "
                "source.catalog_dir=...` (docs/data.md)"
            )
        if source.catalog_dir is None or not source.catalog_dir.is_dir():
            raise ValueError(
                f"{key}.catalog_dir = {source.catalog_dir}: no such folder; "
                "give that of a GalSim RealGalaxyCatalog (docs/data.md)"
            )


class TrainConfig(InjectionRoot):
    """`train.py`."""

    resume: Literal["auto", "never"] | Path = Field(
        "auto",
        description="auto: continue an unfinished run of this configuration; never: set it aside, start anew; "
        "a checkpoint or a run directory: go on from there, in this configuration's own directory",
    )
    run_dir: Path | None = Field(None, description="null: <paths.runs_dir>/<name>-<hash of the configuration>")
    preprocess: PreprocessConfig
    augment: AugmentConfig
    model: ModelConfig
    loss: LossConfig
    optim: OptimConfig
    trainer: TrainerConfig
    logger: LoggerConfig
    evaluate: EvaluateConfig

    @model_validator(mode="after")
    def _start_exists(self) -> "TrainConfig":
        if isinstance(self.resume, Path) and not self.resume.exists():
            raise ValueError(
                f"resume = {self.resume}: must be auto, never, or a checkpoint or run directory that exists"
            )
        return self

    @model_validator(mode="after")
    def _workers_have_no_gpu(self) -> "TrainConfig":
        painted = isinstance(self.sky, StampsSky)
        if self.renderer.device == "cuda" and self.trainer.num_workers > 0 and not painted:
            raise ValueError(
                f"renderer.device = cuda: a loader's worker cannot use the GPU (trainer.num_workers = "
                f"{self.trainer.num_workers}); give trainer.num_workers=0, renderer.device=accelerator or "
                "renderer.device=cpu"
            )
        return self

    @model_validator(mode="after")
    def _plans_are_small(self) -> "TrainConfig":
        tries = self.inject.acceptance.max_tries
        if self.renderer.device == "accelerator" and tries > MAX_PLANNED_TRIES:
            raise ValueError(
                f"renderer.device = accelerator: a worker plans every try of an arc beforehand, at most "
                f"{MAX_PLANNED_TRIES} (inject.acceptance.max_tries = {tries}); lower it, or give renderer.device=cpu"
            )
        return self

    @model_validator(mode="after")
    def _first_weights_exist(self) -> "TrainConfig":
        for key, path in (("pretrained", self.model.pretrained), ("init_from", self.model.init_from)):
            if isinstance(path, Path) and not path.exists():
                raise ValueError(f"model.{key} = {path}: no such file or run directory")
        return self

    @model_validator(mode="after")
    def _one_batch_at_least(self) -> "TrainConfig":
        if self.inject.samples_per_epoch < self.trainer.batch_size:
            raise ValueError(
                f"inject.samples_per_epoch = {self.inject.samples_per_epoch}: must be at least "
                f"trainer.batch_size = {self.trainer.batch_size}, or an epoch has no batch"
            )
        return self

    @model_validator(mode="after")
    def _pairs_stay_together(self) -> "TrainConfig":
        if self.inject.controls == "paired" and self.trainer.batch_size % 2 and not isinstance(self.sky, StampsSky):
            raise ValueError(
                f"trainer.batch_size = {self.trainer.batch_size}: must be even with inject.controls=paired, or a "
                "galaxy and its control fall into two batches"
            )
        return self


class InjectRoot(InjectionRoot):
    """`inject.py`. The groups of training are taken and checked, so that an experiment file or the overrides of a
    training run serve here as they stand; no task reads them."""

    task: TaskConfig
    engine: EngineConfig
    preprocess: PreprocessConfig
    augment: AugmentConfig
    model: ModelConfig
    loss: LossConfig
    optim: OptimConfig
    trainer: TrainerConfig
    logger: LoggerConfig
    evaluate: EvaluateConfig

    @model_validator(mode="after")
    def _files_exist(self) -> "InjectRoot":
        if isinstance(self.task, BankCheckTask):
            self.bank_to_check(self.task)
            return self
        if isinstance(self.task, BankTask):
            if isinstance(self.source, StampsSource):
                if not self.source.files:
                    raise ValueError("source.files = []: give the FITS or NPZ files of your stamps (docs/data.md)")
                return self
            if not isinstance(self.source, CosmosSource):
                raise ValueError(f"task = bank: needs source=cosmos or source=stamps, not {self.source.name}")
            catalog_dir = self.source.catalog_dir
            if catalog_dir is None or not catalog_dir.is_dir():
                raise ValueError(
                    f"source.catalog_dir = {catalog_dir}: no such folder; give that of a GalSim RealGalaxyCatalog"
                )
            return self
        if isinstance(self.task, ValidateTask):
            if self.task.bank is not None:
                require_file("task.bank", self.task.bank, remedy="give the bank that the sources came from, or null")
            return self
        if isinstance(self.task, TargetsTask):
            if not isinstance(self.sky, Dr10Sky):
                raise ValueError(f"task = targets: needs sky=dr10 (sky.sweep_dir=...), not {self.sky.name}")
            return self
        if isinstance(self.task, ManifestTask) and self.task.targets is not None:
            require_file("task.targets", self.task.targets, remedy="give a Parquet or CSV list (docs/manifest.md)")
            return self._check_banks()  # the list stands in the place of a sky
        return self._check_files()

    @model_validator(mode="after")
    def _psf_of_a_grid(self) -> "InjectRoot":
        if isinstance(self.task, ManifestTask) and isinstance(self.task.design, GridDesign):
            axis = next((name for name in self.task.design.axes if name.startswith("psf_")), None)
            if axis is not None and self.psf.name == "survey":
                raise ValueError(f"task.design.axes.{axis}: psf = survey takes the PSF from images; use psf=moffat")
        return self

    def bank_to_check(self, task: BankCheckTask) -> Path:
        """The bank that `task=bank_check` reads: the task's own, or that of a source which has one."""
        bank = task.bank or getattr(self.source, "bank", None)
        key = "task.bank" if task.bank or bank is None else "source.bank"
        if bank is None:
            raise ValueError("task.bank = null: give the HDF5 bank to check (or source=cosmos source.bank=...)")
        require_file(key, bank, remedy="give an HDF5 bank; inject.py task=bank builds one")
        return bank


EvaluateTaskConfig = Annotated[
    AllTask
    | ScoreTask
    | ReportTask
    | ExternalTask
    | GatesTask
    | AuditTask
    | AblationTask
    | CompareTask
    | EnsembleTask
    | MineTask,
    Field(discriminator="name"),
]


class EvaluateRoot(Section):
    """`evaluate.py`: the sky, source and physics are those the checkpoint was trained with."""

    task: EvaluateTaskConfig
    anchors: AnchorsConfig
    checkpoint: Path | None = Field(None, description="a .ckpt file, or a run directory (its best checkpoint)")
    output_dir: Path | None = Field(None, description="null: <run directory>/evaluate")
    n_test_positives: Annotated[int, Field(ge=1)] | None = Field(None, description="null: as trained")
    num_workers: Annotated[int, Field(ge=0, le=256)] = 1
    evaluate: EvaluateConfig
    paths: PathsConfig

    @model_validator(mode="after")
    def _checkpoint_exists(self) -> "EvaluateRoot":
        if isinstance(self.task, ScoreTask | AllTask | GatesTask | MineTask):
            if self.checkpoint is None:
                raise ValueError(
                    "checkpoint = null: must be given on the command line, for example checkpoint=runs/..."
                )
            if not self.checkpoint.exists():
                raise ValueError(f"checkpoint = {self.checkpoint}: no such file or run directory")
        return self

    @model_validator(mode="after")
    def _runs_exist(self) -> "EvaluateRoot":
        task = self.task
        if isinstance(task, ExternalTask):
            if task.stamps is None:
                raise ValueError("task.stamps = null: give the stamp set that was scored (inject.py task=stamps)")
            if task.scores is None or not task.scores.is_file():
                raise ValueError(f"task.scores = {task.scores}: no such file; give a CSV with id and score")
        if isinstance(task, ReportTask) and (task.scores is None or not (task.scores / "scores").is_dir()):
            raise ValueError(
                f"task.scores = {task.scores}: no folder with scores/ in it; give one that evaluate.py task=all wrote"
            )
        if isinstance(task, MineTask) and task.store is not None:
            require_file("task.store", task.store / "store.json", remedy="give a finished store (docs/sky.md), or null")
        if isinstance(task, AblationTask) and (task.sweep is None or not task.sweep.is_dir()):
            raise ValueError(f"task.sweep = {task.sweep}: no such folder; give the paths.runs_dir of a sweep")
        if isinstance(task, EnsembleTask):
            if len(task.members) < 2:
                raise ValueError(f"task.members: {len(task.members)} given; an ensemble needs two at least")
            for path in task.members:
                if not path.exists():
                    raise ValueError(f"task.members = {path}: no such run directory or checkpoint")
        if isinstance(task, CompareTask):
            if len(task.runs) < 2:
                raise ValueError(f"task.runs: {len(task.runs)} given; a comparison needs two runs at least")
            if task.labels and len(task.labels) != len(task.runs):
                raise ValueError(f"task.labels: {len(task.labels)} labels for {len(task.runs)} runs; give one for each")
            for path in task.runs:
                if not path.is_dir():
                    raise ValueError(f"task.runs = {path}: no such run directory")
        return self

    @model_validator(mode="after")
    def _anchors_exist(self) -> "EvaluateRoot":
        if (path := getattr(self.anchors, "path", None)) is not None:
            require_file("anchors.path", path, remedy="give a CSV with name, ra_deg, dec_deg")
        if isinstance(self.anchors, SimulatedAnchors):
            if isinstance(self.task, AuditTask):
                raise ValueError("anchors = simulated: drawn, so there is nothing to audit; audit anchors=slacs_bells")
            return self
        for path in self.anchors.cutouts:
            if not path.exists():
                raise ValueError(
                    f"anchors.cutouts = {path}: no such file or store; make one with inject.py task=cutouts"
                )
        return self


def require_file(key: str, path: Path | str, *, remedy: str) -> None:
    """Raise ValueError naming ``key`` when ``path`` is not a file; a URL is looked for when it is fetched."""
    if isinstance(path, Path) and not path.is_file():
        raise ValueError(f"{key} = {path}: no such file; {remedy}")
