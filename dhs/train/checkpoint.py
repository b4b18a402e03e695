"""Checkpoints: written atomically, read without running code, and known for what they are.

A checkpoint is Lightning's, with two things of ours in it: the whole configuration (``hyper_parameters``) and a header
(``dhs``: format, position in the run, score). Reading one checks, in this order, that every byte is as it was written
(the zip's checksums), that it holds tensors and plain values only, that this code knows its format, that its
configuration is valid, and (`load_finder`) that its weights fit the network.
"""

import os
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO

from dhs.config.load import ConfigError, validate
from dhs.config.root import TrainConfig
from dhs.train.module import LensFinder

FORMAT = 1
"""Of the header and of the configuration inside; raised when an older checkpoint can no longer be understood."""

HEADER = "dhs"


class DamagedCheckpoint(ConfigError):
    """The file is not as it was written: cut short, or bytes have changed."""


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
    """The checkpoint's tensors and plain values; pickled code is refused (``weights_only=True``).

    Raises:
        DamagedCheckpoint: truncated, or a checksum is wrong.
        ConfigError: it would run code, is no checkpoint of train.py, or is of another format.
    """
    _require_undamaged(path)
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ConfigError(
            f"checkpoint = {path}: cannot be read safely ({str(error).splitlines()[0]}); give one written by train.py"
        ) from None
    has_config = "config" in checkpoint.get("hyper_parameters", {}) and "state_dict" in checkpoint
    if not has_config and "dhs_ensemble" not in checkpoint:
        raise ConfigError(f"checkpoint = {path}: holds no dhs configuration; give one written by train.py")
    found = checkpoint.get(HEADER, {}).get("format")
    if has_config and found != FORMAT:
        raise ConfigError(
            f"checkpoint = {path}: format {found}, this code reads {FORMAT}; use the release that wrote it, or train "
            "anew"
        )
    return checkpoint


def checkpoint_config(checkpoint: dict[str, Any], *, path: Path, to_score: bool = False) -> TrainConfig:
    """The configuration that ``checkpoint`` was trained with; ConfigError where it is not valid here.

    ``to_score``: without the lists and stores of its training mix, which scoring does not need and which may be gone.
    """
    if "hyper_parameters" not in checkpoint:
        raise ConfigError(f"checkpoint = {path}: an ensemble; give a checkpoint of one network")
    plain = checkpoint["hyper_parameters"]["config"]
    plain["model"] |= {"pretrained": None, "init_from": None}  # the weights come from the checkpoint
    plain["resume"] = "auto"  # where that run itself was continued from is no matter
    if to_score and "negatives" in plain["inject"]:
        plain["inject"]["real_positives"]["path"] = None
        plain["inject"]["negatives"]["hard"] |= {"path": None, "class_weights": {}}
    try:
        return validate(plain, schema=TrainConfig)
    except ConfigError as error:
        reason = "; ".join(str(error).splitlines())
        raise ConfigError(f"checkpoint = {path}: its configuration is not valid here: {reason}") from None


def load_finder(path: Path) -> LensFinder:
    """The trained module in ``path``."""
    return finder_from(read_checkpoint(path), where=path)


def finder_from(checkpoint: dict[str, Any], *, where: Path) -> LensFinder:
    """The trained module of what `read_checkpoint` gave, in evaluation mode, on the CPU, with its own configuration."""
    config = checkpoint_config(checkpoint, path=where, to_score=True)
    try:
        finder = LensFinder(config)
    except ValueError as error:
        raise ConfigError(f"checkpoint = {where}: its network cannot be built here: {error}") from None
    load_weights(finder, checkpoint, path=where)
    return finder.eval()


def load_weights(finder: LensFinder, checkpoint: dict[str, Any], *, path: Path) -> None:
    """Weights of ``checkpoint`` into ``finder``; ConfigError where they are those of another network."""
    try:
        finder.load_state_dict(checkpoint["state_dict"])
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip()
        raise ConfigError(f"checkpoint = {path}: weights do not fit the network: {reason}") from None


def _require_undamaged(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as file:
            broken = file.testzip()
    except FileNotFoundError:
        raise ConfigError(f"checkpoint = {path}: no such file") from None
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        raise DamagedCheckpoint(f"checkpoint = {path}: cannot be read safely (truncated or damaged: {error})") from None
    if broken is not None:
        raise DamagedCheckpoint(f"checkpoint = {path}: cannot be read safely (damaged: {broken} fails its checksum)")
