"""`Pictures`: what a run looks like while it trains, as PNG in its directory and in W&B.

    <run>/trained_on/epoch_001.png    stamps of the epoch (lenses, then negatives) over what the network sees of them
    <run>/validation/epoch_001.png    the highest-scoring negatives, and the lowest-scoring lenses that are visible
    <run>/validation/epoch_001.csv    the same stamps as a table: which they are, scores, what was injected

Epochs count from 1, as in the log. Only the stamps that are shown are painted again, by their number: a stamp is a pure
function of it, and the random numbers of training are not touched.
"""

import csv
import io
import logging
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytorch_lightning as pl

from dhs.config.root import TrainConfig
from dhs.config.run_dir import write_text
from dhs.constants import BANDS, CLASSES, VISIBLE_MIN_ARC_SNR_SUM_G, VISIBLE_MIN_THETA_E_OVER_PSF
from dhs.display import Sheet, comparison_sheet, stacked_sheets
from dhs.inject.sheet import stamp_caption
from dhs.inject.stamp_batch import StampBatch
from dhs.inject.supply import StampSupply
from dhs.rng import Purpose
from dhs.train.batch import BatchMaker
from dhs.train.module import ValidationScores, total_steps
from dhs.train.tracker import Tracker

log = logging.getLogger("dhs")

KEYS = {"trained_on": "pictures/trained_on", "validation": "pictures/worst_of_validation"}
"""Folders of a run directory, and their names in W&B."""
COLUMNS = 8
SHOWN = 8
"""Lenses, and as many negatives, in a sheet of what is trained on."""
LOOKED_THROUGH = 512
"""First samples of an epoch among which they are."""
CHUNK, MAX_LOOKED_AT = 32, 256
"""Lowest-scoring lenses painted at a time, and at most, to find visible ones."""
GREY_PERCENTILES = (0.5, 99.5)
"""Of a channel's values in the sheet: black and white."""


class Worst(NamedTuple):
    """Stamps of the validation set that the network gets most wrong, with their logits, worst first."""

    negatives: StampBatch
    negative_logit: np.ndarray
    missed: StampBatch | None
    missed_logit: np.ndarray
    n_looked_at: int
    """Lenses painted, from the lowest score up, to find the visible ones among them."""


class Picture(NamedTuple):
    """A PNG of a run."""

    path: Path
    step: int
    """At which it was drawn."""
    epoch: int
    """From 0."""


class Pictures(pl.Callback):
    """Draws both kinds, on rank 0."""

    def __init__(self, config: TrainConfig, *, run_dir: Path) -> None:
        self._config, self._settings, self._run_dir = config, config.logger, run_dir

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        every = self._settings.images_every_epochs
        if not every or trainer.current_epoch % every:
            return
        path = self._path("trained_on", trainer.current_epoch)
        trained_on_sheet(_supply(trainer), config=self._config, epoch=trainer.current_epoch, path=path)
        self._keep(path, trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if not self._settings.n_worst or pl_module.val_scores is None:
            return
        path = self._path("validation", trainer.current_epoch)
        worst = find_worst(_supply(trainer), pl_module.val_scores, n=self._settings.n_worst)
        kinds = _supply(trainer).cutouts.kind
        worst_sheet(worst, kinds=kinds, path=path, epoch=trainer.current_epoch)
        write_text(path.with_suffix(".csv"), worst_table(worst, kinds=kinds))
        self._keep(path, trainer)

    def _path(self, folder: str, epoch: int) -> Path:
        return self._run_dir / folder / f"epoch_{epoch + 1:03d}.png"

    def _keep(self, path: Path, trainer: pl.Trainer) -> None:
        made = _picture(path, config=self._config)
        for logger in trainer.loggers:
            if isinstance(logger, Tracker):
                logger.log_metrics(as_wandb(made), made.step)
        for old in sorted(path.parent.glob("epoch_*.png"))[: -self._settings.keep_images]:
            old.unlink()
            old.with_suffix(".csv").unlink(missing_ok=True)


def drawn_pictures(run_dir: Path, *, config: TrainConfig) -> list[Picture]:
    """Those that ``run_dir`` holds."""
    return [_picture(path, config=config) for folder in KEYS for path in sorted((run_dir / folder).glob("epoch_*.png"))]


def as_wandb(picture: Picture) -> dict[str, Any]:
    """Key and value of a row of W&B."""
    import wandb

    image = wandb.Image(str(picture.path), caption=f"epoch {picture.epoch + 1}")
    return {KEYS[picture.path.parent.name]: image, "epoch": picture.epoch}


def _picture(path: Path, *, config: TrainConfig) -> Picture:
    """The first step of an epoch has the sheet of what it is trained on, the last one its validation."""
    epoch = int(path.stem.removeprefix("epoch_")) - 1
    steps = total_steps(config) // config.trainer.max_epochs
    return Picture(path, epoch * steps if path.parent.name == "trained_on" else (epoch + 1) * steps - 1, epoch)


def trained_on_sheet(supply: StampSupply, *, config: TrainConfig, epoch: int, path: Path) -> Path:
    """PNG of stamps of a training epoch as painted, over the channels of the network's input, augmented as it is."""
    n_looked = min(LOOKED_THROUGH, supply.n_stamps(Purpose.TRAIN))
    _, injected = supply.assignments(np.arange(n_looked), purpose=Purpose.TRAIN, epoch=epoch)
    shown = np.concatenate([np.flatnonzero(injected)[:SHOWN], np.flatnonzero(~injected)[:SHOWN]])
    stamps = supply.stamps(shown, purpose=Purpose.TRAIN, epoch=epoch)
    maker = BatchMaker(
        supply.cutouts,
        preprocess_config=config.preprocess,
        augment_config=config.augment,
        metadata=config.model.metadata,
    )
    channels = maker(stamps)["image"].float().numpy()
    groups = {"as painted": stamps.images.numpy()}
    for i, name in enumerate(config.preprocess.channels):
        low, high = np.percentile(channels[:, i], GREY_PERCENTILES)
        groups[f"{name} [{low:.2g}, {high:.2g}]"] = _grey(channels[:, i], low=low, high=high)
    return comparison_sheet(
        groups,
        captions=[stamp_caption(stamps, i, kinds=supply.cutouts.kind) for i in range(len(stamps))],
        path=path,
        columns=COLUMNS,
        title=(
            f"Epoch {epoch + 1}: stamps as painted, and the network's input after augmentation "
            f"({int(injected.sum())} of the first {n_looked} are lenses)"
        ),
    )


def find_worst(supply: StampSupply, scores: ValidationScores, *, n: int) -> Worst:
    """The ``n`` highest-scoring negatives and lowest-scoring visible lenses of the validation set.

    Visible: theta_E > 1.2 FWHM_r and integrated g-band S/N > 25 (SCIENCE section 6). It is known only of a painted
    stamp, so lenses are painted from the lowest score up until there are ``n``, or `MAX_LOOKED_AT`.
    """
    negatives, lenses = np.flatnonzero(scores.label == 0), np.flatnonzero(scores.label == 1)
    false = negatives[np.argsort(-scores.logit[negatives], kind="stable")][:n]
    lowest = lenses[np.argsort(scores.logit[lenses], kind="stable")][:MAX_LOOKED_AT]
    found: list[int] = []
    looked_at = 0
    while len(found) < n and looked_at < len(lowest):
        rows = lowest[looked_at : looked_at + CHUNK]
        stamps = supply.stamps(scores.index[rows], purpose=Purpose.VAL)
        found += [int(row) for row in rows[is_visible(stamps, supply)]]
        looked_at += len(rows)
    missed = np.array(found[:n], dtype=np.int64)
    return Worst(
        negatives=supply.stamps(scores.index[false], purpose=Purpose.VAL),
        negative_logit=scores.logit[false],
        missed=supply.stamps(scores.index[missed], purpose=Purpose.VAL) if len(missed) else None,
        missed_logit=scores.logit[missed],
        n_looked_at=looked_at,
    )


def is_visible(stamps: StampBatch, supply: StampSupply) -> np.ndarray:
    """(B,) bool: "DECaLS-visible" arcs, as `dhs.evaluate.table.visible_mask` has it."""
    fwhm_r = supply.cutouts.psf_fwhm_arcsec[stamps.recipes.row, BANDS.index("r")]
    resolved = stamps.recipes.theta_e_arcsec / fwhm_r > VISIBLE_MIN_THETA_E_OVER_PSF
    bright = stamps.arc_snr_sum[:, BANDS.index("g")] > VISIBLE_MIN_ARC_SNR_SUM_G
    return np.asarray(stamps.recipes.injected & resolved & bright)


def worst_sheet(worst: Worst, *, kinds: np.ndarray, path: Path, epoch: int) -> Path:
    """PNG of `find_worst`."""
    sheets = [
        _sheet(
            worst.negatives,
            worst.negative_logit,
            kinds=kinds,
            title=f"Validation of epoch {epoch + 1}: highest-scoring negatives",
        )
    ]
    if worst.missed is not None:
        title = f"Lowest-scoring visible lenses (among the {worst.n_looked_at} lenses with the lowest scores)"
        sheets.append(_sheet(worst.missed, worst.missed_logit, kinds=kinds, title=title))
    return stacked_sheets(sheets, path=path, columns=COLUMNS)


def worst_table(worst: Worst, *, kinds: np.ndarray) -> str:
    """CSV of `find_worst`, a stamp a row; what a negative does not have is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["shown_as", "index", "target_id", "class", "logit", "p", "theta_e_arcsec", "magnification", "arc_snr_sum_g"]
    )
    for name, stamps, logits in (
        ("highest-scoring negative", worst.negatives, worst.negative_logit),
        ("lowest-scoring visible lens", worst.missed, worst.missed_logit),
    ):
        for i, logit in enumerate(logits):
            assert stamps is not None
            recipes = stamps.recipes
            arc = (recipes.theta_e_arcsec[i], stamps.magnification[i], stamps.arc_snr_sum[i, BANDS.index("g")])
            known = [f"{value:.4g}" if recipes.injected[i] else "" for value in arc]
            of = [name, recipes.key[i, 3], recipes.target_id[i], CLASSES[kinds[recipes.row[i]]]]
            writer.writerow([*of, f"{logit:.5g}", f"{probability(logit):.4g}", *known])
    return text.getvalue()


def probability(logit: float) -> float:
    """p of a lens, without overflow."""
    return float(np.exp(-np.logaddexp(0.0, -logit)))


def _sheet(stamps: StampBatch, logits: np.ndarray, *, kinds: np.ndarray, title: str) -> Sheet:
    captions = [
        f"p {probability(logit):.3f}\n{stamp_caption(stamps, i, kinds=kinds)}" for i, logit in enumerate(logits)
    ]
    return Sheet({"": stamps.images.numpy()}, captions, title)


def _grey(channel: np.ndarray, *, low: float, high: float) -> np.ndarray:
    """(B, N, N) -> (B, N, N, 3) uint8, black at ``low`` and white at ``high``."""
    scaled = np.clip((channel - low) / max(high - low, 1e-9), 0, 1)
    return np.repeat(np.rint(255 * scaled).astype(np.uint8)[..., None], 3, axis=-1)


def _supply(trainer: pl.Trainer) -> StampSupply:
    supply: StampSupply = trainer.datamodule.supply  # type: ignore[attr-defined]
    return supply
