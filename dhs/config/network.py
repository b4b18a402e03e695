"""Schema of `model= loss=`, and which columns a network may be told beside the pixels."""

from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import Field, field_validator, model_validator

from dhs.config.base import Fraction, PositiveFloat, Section
from dhs.constants import CLASSES

MetadataColumn = Literal["psfsize_g", "psfsize_r", "psfsize_z", "psfdepth_g", "psfdepth_r", "psfdepth_z"]
"""Columns that describe the observation: the only ones that can be named."""

LEAKING = (
    *("label", "injected", "theta_e", "axis_ratio", "phi_", "gamma1", "gamma2", "lens_", "sigma_v", "z_lens"),
    *("z_source", "natural_weight", "source_", "magnification", "arc_", "lensed_", "image_count", "n_tries"),
    *("reject", "n_rejected", "key_", "kind", "row", "target_id", "task_id", "pair_id", "split", "cell", "replicate"),
    *("design", "origin", "cosmos_", "region_split", "is_control"),
)
"""Beginnings of column names that are known for injected stamps alone, or name the stamp: they tell the label."""


class ModelConfig(Section):
    """A timm backbone, optional metadata MLP, linear head in float32."""

    backbone: Annotated[str, Field(min_length=1)] = Field(description="any timm model name")
    backbone_kwargs: dict[str, int | float | bool | str | tuple[int, ...]] = Field(
        default_factory=dict, description="passed to timm.create_model"
    )
    stem: Literal["halved", "original"] = Field(
        "halved", description="halved: stride of the first convolution / 2, for 64-px inputs"
    )
    pretrained: Literal["imagenet"] | Path | None = Field(
        None, description="backbone's first weights: imagenet (downloaded), or a local timm file (.safetensors, .pth)"
    )
    init_from: Path | None = Field(
        None, description="warm start: network of a checkpoint of train.py, or of a run directory's best"
    )
    metadata: tuple[MetadataColumn, ...] = ()
    metadata_hidden: Annotated[int, Field(ge=1, le=1024)] = 32
    metadata_max_auc: Annotated[float, Field(gt=0.5, le=1)] = Field(
        0.6, description="a column that alone tells positives from negatives better than this is refused"
    )
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.0

    @field_validator("pretrained", mode="before")
    @classmethod
    def _boolean_was_imagenet(cls, value: object) -> object:
        return {True: "imagenet", False: None}[value] if isinstance(value, bool) else value  # earlier checkpoints

    @field_validator("metadata", mode="before")
    @classmethod
    def _nothing_that_leaks(cls, value: object) -> object:
        allowed = get_args(MetadataColumn)
        for column in value if isinstance(value, list | tuple) else ():
            if column in allowed:
                continue
            leaks = str(column).startswith(LEAKING)
            why = f"leaks: {column} tells the label" if leaks else f"no column {column}"
            raise ValueError(f"{why}; allowed: {', '.join(allowed)}")
        return value

    @model_validator(mode="after")
    def _one_beginning(self) -> "ModelConfig":
        if self.pretrained is not None and self.init_from is not None:
            raise ValueError(
                f"init_from = {self.init_from}: and pretrained = {self.pretrained}: "
                "a network starts from one of them; set the other to null"
            )
        for key, path in (("pretrained", self.pretrained), ("init_from", self.init_from)):
            if isinstance(path, Path) and path.suffix not in (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ""):
                raise ValueError(f"{key} = {path}: must be a .safetensors, .pth, .pt or .bin file, or a .ckpt")
        return self


class LossCommon(Section):
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = Field(
        0.0, description="the target of a positive is 1 - this, of a negative this"
    )
    class_weights: dict[str, Annotated[float, Field(ge=0)]] = Field(
        default_factory=dict, description="weight of negatives by their class; 1 where none is given"
    )

    @model_validator(mode="after")
    def _weights_of_known_classes(self) -> "LossCommon":
        unknown = sorted(set(self.class_weights) - set(CLASSES))
        if unknown:
            raise ValueError(f"class_weights = {unknown[0]}: no such class; there are {', '.join(CLASSES)}")
        if all(self.class_weights.get(name, 1.0) == 0 for name in CLASSES):
            raise ValueError("class_weights = 0 for every class: the negatives' weights sum to nothing; raise one")
        return self


class FocalLoss(LossCommon):
    """Lin+2017, arXiv:1708.02002, equation 5."""

    name: Literal["focal"]
    alpha: Fraction = Field(0.25, description="weight of positives; 1 - alpha that of negatives")
    gamma: Annotated[float, Field(ge=0, le=10)] = Field(2.0, description="0: no focus on the hard ones")


class BceLoss(LossCommon):
    name: Literal["bce"]
    positive_weight: PositiveFloat = 1.0


LossConfig = Annotated[FocalLoss | BceLoss, Field(discriminator="name")]
