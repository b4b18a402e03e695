"""What a run trains on beside its sky: known lenses and labelled negatives of a store, mined negatives of a list."""

import hashlib
import json
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dhs.config.injection import InjectConfig
from dhs.config.run_dir import write_text
from dhs.config.sky import SplitConfig
from dhs.constants import BANDS, CLASSES
from dhs.inject.hard_list import hard_rows, read_hard_list
from dhs.inject.mix import NO_ROWS, TrainingMix, counted
from dhs.sky.cutouts import CutoutSet
from dhs.sky.joined import joined
from dhs.sky.labelled import SAME_OBJECT_ARCSEC, LabelledStore, load_labelled, near, train_rows

log = logging.getLogger("dhs")

REAL_KEY, HARD_KEY = "inject.real_positives.path", "inject.negatives.hard.path"
CARD = "training_sky.json"


@dataclass(frozen=True)
class Extras:
    """Rows, in the joined set, that the sky itself does not have, or that it has as something else."""

    real: np.ndarray = field(default_factory=lambda: NO_ROWS)
    """Known lenses."""
    hard: np.ndarray = field(default_factory=lambda: NO_ROWS)
    """Hard negatives; those of a list are rows of the sky itself."""
    lenses: np.ndarray = field(default_factory=lambda: NO_ROWS)
    """Galaxies of the sky that are known lenses themselves: neither hosts nor negatives of training."""
    card: dict[str, Any] = field(default_factory=dict)
    """What was read, and how much of it serves."""


def with_extras(sky: CutoutSet, *, inject: InjectConfig, split: SplitConfig | None) -> tuple[CutoutSet, Extras]:
    """``sky`` with the cutouts that ``inject`` names behind its own, and which rows are what.

    ``split``: the sky's rule, None where its galaxies bring their own. ValueError (one line) says what cannot be
    trained on and why.
    """
    cutouts, card = sky, dict[str, Any]()
    real, hard, lenses = NO_ROWS, NO_ROWS, NO_ROWS
    real_path, hard_path = inject.real_positives.path, inject.negatives.hard.path
    if real_path is not None:
        store = load_labelled(real_path, key=REAL_KEY)
        chosen = train_rows(store, label=1, sky=sky, split=split, hold_out=inject.real_positives.hold_out, key=REAL_KEY)
        cutouts, real = _append(cutouts, store, chosen, key=REAL_KEY)
        every = store.label == 1
        there = near(sky, store.cutouts.ra_deg[every], store.cutouts.dec_deg[every], arcsec=SAME_OBJECT_ARCSEC)
        lenses = np.flatnonzero(there)
        card["real_positives"] = _index_card(store, chosen)
        _log_real(cutouts, real, lenses, inject=inject)
    if hard_path is not None:
        if hard_path.is_dir():
            store = load_labelled(hard_path, key=HARD_KEY)
            chosen = train_rows(store, label=0, sky=sky, split=split, hold_out=(), key=HARD_KEY)
            cutouts, hard = _append(cutouts, store, chosen, key=HARD_KEY)
            card["hard_negatives"] = _index_card(store, chosen)
        else:
            table = read_hard_list(hard_path, key=HARD_KEY)
            found = hard_rows(table, sky=sky, controls=inject.controls, where=f"{HARD_KEY} = {hard_path}")
            hard = np.setdiff1d(found.rows, lenses)
            card["hard_negatives"] = _file_card(hard_path, len(hard)) | {"left_out": found.left_out}
        log.info("hard negatives: %s of %s", counted(cutouts.kind[hard]), hard_path)
    return cutouts, Extras(real, hard, lenses, card)


def mix_lines(mix: TrainingMix, *, kinds: np.ndarray, samples_per_epoch: int) -> list[str]:
    """What an epoch is made of, on average, for the log."""
    numbers = {name: share * samples_per_epoch for name, share in mix.expected.items() if share > 0}
    shares = {name: share for name, share in mix.class_shares(kinds).items() if share > 0}
    never = [name for name in CLASSES if name not in shares]
    lines = [
        f"a training epoch: {samples_per_epoch} stamps, about "
        + ", ".join(f"{n:.0f} {name.replace('_', ' ')}" for name, n in numbers.items()),
        "its negatives: "
        + ", ".join(f"{share:.1%} {name}" for name, share in shares.items())
        + (f"; never {', '.join(never)}" if never else ""),
    ]
    if mix.paired and mix.expected["negative"] == 0 and len(np.setdiff1d(mix.negatives.rows, mix.hosts)):
        lines.append(
            "WARNING: controls=paired with as many negatives as positives: the sky's negatives of other classes are "
            "never shown; raise inject.negatives.ratio to have some"
        )
    return lines


def keep_extras(run_dir: Path, card: dict[str, Any]) -> None:
    """Write ``card`` into ``run_dir``; ValueError where the run was begun with other files of the same names."""
    kept = run_dir / CARD
    before = json.loads(kept.read_text()) if kept.is_file() else {}
    for name in sorted(before.keys() & card.keys()):
        if before[name]["sha256"] != card[name]["sha256"]:
            raise ValueError(
                f"{card[name]['path']}: not the file that {run_dir} was begun with (another SHA-256); give that one, "
                "or resume=never"
            )
    if card:
        write_text(kept, json.dumps(card, indent=2, sort_keys=True) + "\n")


def _append(cutouts: CutoutSet, store: LabelledStore, rows: np.ndarray, *, key: str) -> tuple[CutoutSet, np.ndarray]:
    """``rows`` of ``store`` behind ``cutouts``, and their numbers there."""
    both = joined(cutouts, extra=store.cutouts, rows=rows, where=f"{key} = {store.path}")
    return both, np.arange(len(cutouts), len(both))


def _index_card(store: LabelledStore, rows: np.ndarray) -> dict[str, Any]:
    return _file_card(store.path / "index.parquet", len(rows))


def _file_card(path: Path, n: int) -> dict[str, Any]:
    return {"path": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "n": n}


def _log_real(cutouts: CutoutSet, real: np.ndarray, lenses: np.ndarray, *, inject: InjectConfig) -> None:
    """How often each is shown, and whether seeing or depth could tell them from the rest."""
    often = inject.samples_per_epoch * inject.positive_share * inject.real_positives.fraction / len(real)
    log.info("real positives: %d known lenses, each about %.1f times an epoch", len(real), often)
    if len(lenses):
        log.info("%d galaxies of the sky are known lenses: neither hosts nor negatives of training", len(lenses))
    r, rest = BANDS.index("r"), slice(0, int(real.min()))
    for what, values in (("seeing (arcsec)", cutouts.psf_fwhm_arcsec), ("depth (mag)", cutouts.psf_depth_mag)):
        log.info("median r-band %s: real %.2f, sky %.2f", what, np.median(values[real, r]), np.median(values[rest, r]))
