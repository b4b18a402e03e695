"""`Finder`: what scores stamps, be it one network or an ensemble of them, with or without test-time averaging.

An ensemble's members may differ in network, channels, normalisation, metadata, training data and seed; each sees the
stamp as it was trained to. Its score is the mean of the members' *calibrated* probabilities (Platt 1999: a scale and an
offset of the logit, fitted on the validation sky), because raw ones mean different things; as a logit, computed without
rounding to 0 or 1, so that scores do not tie. Test-time averaging is the mean logit of the eight orientations.

    finder = open_finder(path, tta=True)      # a checkpoint of train.py, or a file of task=ensemble
    logits = finder.logits(finder.maker(cutouts)(stamps))
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch

from dhs.config.load import ConfigError
from dhs.config.root import TrainConfig
from dhs.display import write_atomically
from dhs.inject.stamp_batch import StampBatch
from dhs.inject.supply import Galaxies
from dhs.train.batch import BatchMaker
from dhs.train.checkpoint import finder_from, read_checkpoint
from dhs.train.module import LensFinder

ENSEMBLE_VERSION = 1
Maker = Callable[[StampBatch], Any]
Precision = Literal["float32", "bf16"]


class Finder(Protocol):
    """Scores stamps."""

    config: TrainConfig
    """The sky and the injections it belongs to."""

    def maker(self, cutouts: Galaxies) -> Maker:
        """Stamps -> what `logits` takes; runs in a loader's workers."""
        ...

    def logits(self, batch: Any) -> np.ndarray:
        """(B,) float64, higher = more like a lens."""
        ...


class SingleFinder:
    """One network."""

    def __init__(self, module: LensFinder, *, tta: bool, device: str = "cpu", precision: Precision = "float32") -> None:
        self.module, self.config, self._tta = module.eval().to(device), module.config, tta
        self.device = torch.device(device)
        self._bf16 = precision == "bf16"

    def maker(self, cutouts: Galaxies) -> BatchMaker:
        config = self.config
        return BatchMaker(
            cutouts, preprocess_config=config.preprocess, augment_config=None, metadata=config.model.metadata
        )

    @torch.inference_mode()
    def logits(self, batch: dict[str, Any]) -> np.ndarray:
        image, metadata = (batch[name].to(self.device, non_blocking=True) for name in ("image", "metadata"))
        views = orientations(image) if self._tta else [image]
        # The head runs in float32 whatever the precision (dhs.train.network).
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self._bf16):
            every = [self.module(view, metadata).float() for view in views]
        return np.mean([logit.cpu().numpy().astype(np.float64) for logit in every], axis=0)

    @torch.inference_mode()
    def features(self, batch: dict[str, Any]) -> np.ndarray:
        """(B, F) float32 what the backbone makes of the pixels (mean of the orientations with TTA), always float32."""
        image = batch["image"].to(self.device)
        views = orientations(image) if self._tta else [image]
        every = [self.module.network.image_features(view).float().cpu().numpy() for view in views]
        return np.mean(every, axis=0)


@dataclass(frozen=True)
class Member:
    """One network of an ensemble, with its calibration."""

    name: str
    finder: SingleFinder
    scale: float
    """Above 0: p = sigmoid(scale * logit + offset)."""
    offset: float


class Ensemble:
    """The mean of its members' calibrated probabilities."""

    def __init__(self, members: list[Member]) -> None:
        self.members, self.config = members, members[0].finder.config

    def maker(self, cutouts: Galaxies) -> "EnsembleMaker":
        return EnsembleMaker([member.finder.maker(cutouts) for member in self.members])

    def logits(self, batch: list[dict[str, Any]]) -> np.ndarray:
        every = [
            member.scale * member.finder.logits(own) + member.offset
            for member, own in zip(self.members, batch, strict=True)
        ]
        return mean_probability_logit(np.array(every))

    def features(self, batch: list[dict[str, Any]]) -> np.ndarray:
        """(B, F) float32 features of all members, side by side."""
        return np.concatenate(
            [member.finder.features(own) for member, own in zip(self.members, batch, strict=True)], axis=1
        )


class EnsembleMaker:
    """Every member's own view of the stamps."""

    def __init__(self, makers: list[BatchMaker]) -> None:
        self._makers = makers

    def __call__(self, stamps: StampBatch) -> list[dict[str, Any]]:
        return [maker(stamps) for maker in self._makers]


def orientations(images: torch.Tensor) -> list[torch.Tensor]:
    """(B, C, N, N) turned by quarters, mirrored or not: eight views, the first the images themselves."""
    return [torch.rot90(view, turns, dims=(-2, -1)) for view in (images, images.flip(-1)) for turns in range(4)]


def mean_probability_logit(logits: np.ndarray) -> np.ndarray:
    """(B,) logit of the mean over M of sigmoid(logits), (M, B): exact where probabilities round to 0 or 1."""
    lens = np.logaddexp.reduce(-np.logaddexp(0.0, -logits), axis=0)
    other = np.logaddexp.reduce(-np.logaddexp(0.0, logits), axis=0)
    return np.asarray(lens - other)


def save_ensemble(path: Path, members: list[Member]) -> None:
    """One file that `open_finder` reads: configurations, weights, calibrations."""
    parts = [
        {
            "name": member.name,
            "config": member.finder.config.model_dump(mode="json"),
            "state_dict": member.finder.module.state_dict(),
            "scale": member.scale,
            "offset": member.offset,
        }
        for member in members
    ]
    buffer = io.BytesIO()
    torch.save({"dhs_ensemble": ENSEMBLE_VERSION, "members": parts}, buffer)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, buffer.getvalue())


def open_finder(path: Path, *, tta: bool = False, device: str = "cpu", precision: Precision = "float32") -> Finder:
    """The finder in ``path``, on ``device``; ConfigError (one line) says what is wrong with the file."""
    content = read_checkpoint(path)
    if "dhs_ensemble" not in content:
        return SingleFinder(finder_from(content, where=path), tta=tta, device=device, precision=precision)
    if content["dhs_ensemble"] != ENSEMBLE_VERSION:
        raise ConfigError(
            f"checkpoint = {path}: an ensemble of version {content['dhs_ensemble']}; allowed: {ENSEMBLE_VERSION}; "
            "make it again with evaluate.py task=ensemble"
        )
    members = []
    for part in content["members"]:
        plain = {"hyper_parameters": {"config": part["config"]}, "state_dict": part["state_dict"]}
        module = finder_from(plain, where=Path(f"{path} ({part['name']})"))
        single = SingleFinder(module, tta=tta, device=device, precision=precision)
        members.append(Member(part["name"], single, part["scale"], part["offset"]))
    return Ensemble(members)
