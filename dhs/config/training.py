"""Schema of `preprocess= augment= model= loss= optim= trainer= logger=`."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from dhs.config.base import Fraction, PositiveFloat, Section

MetadataColumn = Literal["psfsize_g", "psfsize_r", "psfsize_z", "psfdepth_g", "psfdepth_r", "psfdepth_z"]
"""Columns that describe the observation. Nothing that tells the label can be named here."""


class PreprocessConfig(Section):
    """Per-band outer-annulus normalisation, clip, stretch, channels (SCIENCE section 5)."""

    annulus_inner_fraction: Annotated[float, Field(gt=0.2, lt=0.95)] = Field(
        0.5, description="inner radius in half-sizes: 0.5 is 16 px of a 64-px stamp"
    )
    clip_sigma: PositiveFloat | None = Field(None, description="hard clip after normalisation; null: none")
    stretch: Literal["none", "asinh", "sqrt"] = "asinh"
    stretch_scale_sigma: PositiveFloat = Field(3.0, description="where the stretch leaves the linear part")
    channels: Annotated[
        tuple[Literal["g", "r", "z", "g-r", "g-z", "residual_g", "residual_r", "residual_z"], ...], Field(min_length=1)
    ] = ("g", "r", "z")
    difference_k: Annotated[float, Field(gt=0, le=2)] = Field(0.6, description="k of g - k r and g - k z")


class AugmentConfig(Section):
    dihedral: bool = True
    max_shift_px: Annotated[int, Field(ge=0, le=16)] = 2


class ModelConfig(Section):
    """A timm backbone, optional metadata MLP, linear head in float32."""

    backbone: Annotated[str, Field(min_length=1)] = Field(description="any timm model name")
    backbone_kwargs: dict[str, int | float | bool | str | tuple[int, ...]] = Field(
        default_factory=dict, description="passed to timm.create_model"
    )
    stem: Literal["halved", "original"] = Field(
        "halved", description="halved: stride of the first convolution / 2, for 64-px inputs"
    )
    pretrained: bool = Field(False, description="download timm's weights")
    metadata: tuple[MetadataColumn, ...] = ()
    metadata_hidden: Annotated[int, Field(ge=1, le=1024)] = 32
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.0


class FocalLoss(Section):
    name: Literal["focal"]
    alpha: Fraction = 0.25
    gamma: Annotated[float, Field(ge=0, le=10)] = 2.0
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.0


class BceLoss(Section):
    name: Literal["bce"]
    positive_weight: PositiveFloat = 1.0
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.0


LossConfig = Annotated[FocalLoss | BceLoss, Field(discriminator="name")]


class OptimConfig(Section):
    """AdamW, linear warm-up, cosine to `final_lr_fraction`."""

    name: Literal["adamw"]
    lr: Annotated[float, Field(gt=0, le=1)] = 3e-4
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 1e-2
    warmup_fraction: Annotated[float, Field(ge=0, lt=1)] = Field(0.05, description="of all steps")
    final_lr_fraction: Annotated[float, Field(ge=0, le=1)] = 0.01
    gradient_clip: Annotated[float, Field(ge=0)] = Field(1.0, description="norm; 0: off")


class TrainerConfig(Section):
    accelerator: Literal["cpu", "gpu", "auto"] = "cpu"
    devices: Annotated[int, Field(ge=1)] = 1
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    max_epochs: Annotated[int, Field(ge=1)] = 50
    batch_size: Annotated[int, Field(ge=2)] = Field(256, description="global, over all ranks")
    num_workers: Annotated[int, Field(ge=0, le=256)] = 1
    threads: Annotated[int, Field(ge=1)] | None = Field(None, description="CPU threads of a step; null: torch's own")
    patience: Annotated[int, Field(ge=1)] = Field(5, description="epochs without a better val/pauroc")
    monitor_max_fpr: Annotated[float, Field(gt=0, le=1)] = Field(
        0.01, description="val/pauroc is the AUROC below this false-positive rate (McClish-standardised)"
    )
    checkpoint_every_steps: Annotated[int, Field(ge=1)] = 100

    @model_validator(mode="after")
    def _half_needs_gpu(self) -> "TrainerConfig":
        if self.precision == "16-mixed" and self.accelerator == "cpu":
            raise ValueError("precision = 16-mixed: needs trainer.accelerator=gpu; on a CPU use 32-true or bf16-mixed")
        if self.batch_size % self.devices:
            raise ValueError(f"batch_size = {self.batch_size}: must be a multiple of devices = {self.devices}")
        return self


class CsvLogger(Section):
    name: Literal["csv"]


class WandbLogger(Section):
    """W&B beside the CSV log; offline when no key is found and mode is auto."""

    name: Literal["wandb"]
    project: Annotated[str, Field(min_length=1)] = "dark-halo-scope"
    entity: str | None = None
    group: str | None = None
    tags: tuple[str, ...] = ()
    mode: Literal["auto", "online", "offline"] = "auto"


LoggerConfig = Annotated[CsvLogger | WandbLogger, Field(discriminator="name")]
