"""Schema of `optim= trainer= logger=`; those of the network and its input are beside it, and named here too."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from dhs.config.base import Section
from dhs.config.network import BceLoss, FocalLoss, LossConfig, MetadataColumn, ModelConfig
from dhs.config.network_input import AugmentConfig, PreprocessConfig

__all__ = [
    "AugmentConfig",
    "BceLoss",
    "FocalLoss",
    "LossConfig",
    "MetadataColumn",
    "ModelConfig",
    "PreprocessConfig",
]


class OptimConfig(Section):
    """AdamW, linear warm-up, cosine to `final_lr_fraction`."""

    name: Literal["adamw"]
    lr: Annotated[float, Field(gt=0, le=1)] = Field(3e-4, description="of the head; the backbone's with layer_decay 1")
    weight_decay: Annotated[float, Field(ge=0, le=1)] = Field(
        1e-2, description="of matrices and kernels; biases and normalisation scales never decay"
    )
    warmup_fraction: Annotated[float, Field(ge=0, lt=1)] = Field(0.05, description="of all steps")
    final_lr_fraction: Annotated[float, Field(ge=0, le=1)] = 0.01
    gradient_clip: Annotated[float, Field(ge=0)] = Field(1.0, description="norm; 0: off")
    layer_decay: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0, description="factor of the learning rate from each layer of the backbone to the one below; 1: off"
    )
    frozen_epochs: Annotated[int, Field(ge=0)] = Field(
        0, description="first epochs in which the head and the metadata MLP learn and the backbone does not"
    )
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="moving average of the weights, which is what is validated, kept and evaluated; 0: off"
    )


class TrainerConfig(Section):
    accelerator: Literal["cpu", "gpu", "auto"] = "cpu"
    devices: Annotated[int, Field(ge=1, le=64)] = Field(1, description="ranks on this machine, one process each")
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    max_epochs: Annotated[int, Field(ge=1)] = 50
    batch_size: Annotated[int, Field(ge=2)] = Field(256, description="global, over all ranks")
    num_workers: Annotated[int, Field(ge=0, le=256)] = 1
    threads: Annotated[int, Field(ge=1)] | None = Field(None, description="CPU threads of a step; null: torch's own")
    patience: Annotated[int, Field(ge=1)] = Field(5, description="epochs without a better val/pauroc")
    monitor_max_fpr: Annotated[float, Field(gt=0, le=1)] = Field(
        0.01, description="val/pauroc is the AUROC below this false-positive rate (McClish-standardised)"
    )
    checkpoint_every_steps: Annotated[int, Field(ge=1)] = Field(100, description="beside the end of every epoch")
    keep_last_n: Annotated[int, Field(ge=1, le=100)] = Field(
        2, description="checkpoints kept of the run's end: last.ckpt, last-1.ckpt (the one before), ...; and best.ckpt"
    )
    channels_last: bool = Field(True, description="memory layout: faster on CPUs and tensor cores, same result")
    compile: bool = Field(False, description="torch.compile of the network; needs a C++ compiler, or triton on a GPU")

    @model_validator(mode="after")
    def _half_needs_gpu(self) -> "TrainerConfig":
        if self.precision == "16-mixed" and self.accelerator == "cpu":
            raise ValueError("precision = 16-mixed: needs trainer.accelerator=gpu; on a CPU use 32-true or bf16-mixed")
        if self.batch_size % self.devices:
            raise ValueError(f"batch_size = {self.batch_size}: must be a multiple of devices = {self.devices}")
        return self


class Pictures(Section):
    """Pictures of a run, as PNG in its directory, and in W&B where that is the logger."""

    images_every_epochs: Annotated[int, Field(ge=0)] = Field(
        5, description="<run>/trained_on: stamps of the epoch and what the network sees of them; 0: never"
    )
    n_worst: Annotated[int, Field(ge=0, le=64)] = Field(
        8, description="<run>/validation: highest-scoring negatives, lowest-scoring visible lenses, of each; 0: none"
    )
    keep_images: Annotated[int, Field(ge=1)] = Field(20, description="PNG kept in each of the two, the newest")


class CsvLogger(Pictures):
    name: Literal["csv"]


class WandbLogger(Pictures):
    """W&B beside the CSV log; offline when no key is found and mode is auto."""

    name: Literal["wandb"]
    project: Annotated[str, Field(min_length=1)] = "dark-halo-scope"
    entity: str | None = Field(None, description="user or team; null: the key's own")
    group: str | None = Field(None, description="null: the sweep that the run belongs to, else its name")
    tags: tuple[Annotated[str, Field(min_length=1, max_length=64)], ...] = Field((), description="beside the sweep's")
    notes: str | None = None
    mode: Literal["auto", "online", "offline"] = Field(
        "auto", description="auto: $WANDB_MODE where it is set; else online with a key, offline without"
    )
    artifacts: Literal["none", "best", "all"] = Field(
        "none", description="checkpoints uploaded at the end: none, best.ckpt, or best.ckpt and last.ckpt"
    )
    start_timeout_s: Annotated[float, Field(ge=1)] = Field(60.0, description="for the server's answer at the start")
    finish_timeout_s: Annotated[float, Field(ge=1)] = Field(
        120.0, description="for what is still to be uploaded at the end; it is on the disk in any case"
    )


LoggerConfig = Annotated[CsvLogger | WandbLogger, Field(discriminator="name")]
