"""Checkpoints: written atomically, read without running code."""

import os
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO

from dhs.config.load import ConfigError, validate
from dhs.config.root import TrainConfig
from dhs.train.module import LensFinder


class AtomicCheckpointIO(TorchCheckpointIO):
    """A checkpoint appears under its name complete or not at all: temporary name, fsync, rename."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.tmp{os.getpid()}")
        with open(temporary, "wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The checkpoint's tensors and plain values; pickled code is refused (``weights_only=True``)."""
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ConfigError(
            f"checkpoint = {path}: cannot be read safely ({str(error).splitlines()[0]}); give one written by train.py"
        ) from None
    has_config = "config" in checkpoint.get("hyper_parameters", {}) and "state_dict" in checkpoint
    if not has_config and "dhs_ensemble" not in checkpoint:
        raise ConfigError(f"checkpoint = {path}: holds no dhs configuration; give one written by train.py")
    return checkpoint


def load_finder(path: Path) -> LensFinder:
    """The trained module in ``path``."""
    return finder_from(read_checkpoint(path), where=path)


def finder_from(checkpoint: dict[str, Any], *, where: Path) -> LensFinder:
    """The trained module of what `read_checkpoint` gave, in evaluation mode, on the CPU, with its own configuration."""
    plain = checkpoint["hyper_parameters"]["config"]
    plain["model"] |= {"pretrained": None, "init_from": None}  # the weights come from the checkpoint
    try:
        config = validate(plain, schema=TrainConfig)
    except ConfigError as error:
        raise ConfigError(f"checkpoint = {where}: its configuration is not valid here: {error}") from None
    finder = LensFinder(config)
    try:
        finder.load_state_dict(checkpoint["state_dict"])
    except RuntimeError as error:
        raise ConfigError(
            f"checkpoint = {where}: weights do not fit the network: {str(error).splitlines()[1]}"
        ) from None
    return finder.eval()
