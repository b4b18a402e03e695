"""Gates of the files and of single stamps: is the set whole, readable, finite, lit, balanced?"""

import numpy as np

from dhs.inject.validate.evidence import Evidence
from dhs.inject.validate.gate import Gate, Question
from dhs.inject.validate.measure import UNREADABLE
from dhs.inject.validate.pixels import CONSTANT, DARK, NOT_FINITE

N_NAMED = 3
"""Files or rows named in a sentence."""

COMPLETE = Question(
    "complete",
    "Files agree with the ledger",
    "The job was stopped, a part was lost or changed after it was written, or two sets are mixed in one folder.",
    "Run the job that wrote the set again (task=stamps continues where it stopped) and validate again.",
)
READABLE = Question(
    "readable",
    "Every good row has a stamp",
    "A row says cutout_ok, and its pixels are missing, damaged, of another shape, or no plain array.",
    "Look at the rows named; write them again, or mark them cutout_ok = false.",
)
CUTOUT_OK = Question(
    "cutout_ok",
    "Cutouts that worked",
    "Many rows are empty: the targets lie outside the survey, or the cutouts were lost on the way.",
    "The table of reasons says which; leave those targets out of the manifest.",
)
FINITE = Question(
    "finite",
    "No NaN and no infinity",
    "One NaN pixel makes the loss NaN and ends a training run.",
    "Fill masked pixels (0 is the sky) when the stamps are written, or mark the rows cutout_ok = false.",
)
LIT = Question(
    "lit",
    "No dark or constant band",
    "A stamp without data in a band counts as a good one: the network learns where the survey has gaps.",
    "Mark these rows cutout_ok = false; require coverage in all bands when targets are chosen.",
)
BALANCE = Question(
    "balance",
    "Injections and controls in every split",
    "A split is nearly all of one label, or the label was lost.",
    "Set the controls of the manifest; task.limits.injected_fraction where another balance is meant.",
)
PROPORTIONS = Question(
    "proportions",
    "Train is the largest split",
    "The seeds trained on 19% of their stamps and validated on 47%: the proportions were inverted.",
    "Give the splits other shares in the manifest, or set task.limits.min_train_fraction.",
)


def complete(e: Evidence) -> Gate:
    """Ledger, `_SUCCESS.json` and the parts."""
    files = e.files
    if not files.ledger and files.success is None and not files.has_job:
        if files.unreadable:
            return COMPLETE.judged(_named([fault.path for fault in files.unreadable], "cannot be read"), good=False)
        return COMPLETE.not_applicable("a set without a ledger: nothing says how many parts there should be")
    here = {part.name: part for part in files.parts}
    faults = [f"{fault.path} cannot be read" for fault in files.unreadable]
    if files.success is None:
        faults.append("no _SUCCESS.json: the job has not finished")
    faults += [f"{name} is in the ledger and not there" for name in sorted(files.ledger.keys() - here.keys())]
    for name, part in here.items():
        record = files.ledger.get(name)
        if record is None:
            faults.append(f"{name} is not in the ledger")
        elif record.get("n_rows", part.n_rows) != part.n_rows or record.get("n_bytes", part.n_bytes) != part.n_bytes:
            faults.append(f"{name} has {part.n_bytes} bytes and {part.n_rows} rows, other than written")
        elif record.get("tar") is not None and record["tar"].get("n_bytes") != part.tar_bytes:
            faults.append(f"the tar of {name} has {part.tar_bytes} bytes, written were {record['tar'].get('n_bytes')}")
        elif name in e.checksums and e.checksums[name] != record["sha256"]:
            faults.append(f"{name} has another SHA-256 than written")
    numbers = {"n_parts": len(here), "n_checksums_compared": len(e.checksums), "faults": faults[:50]}
    if faults:
        return COMPLETE.judged(_named(faults), good=False, numbers=numbers)
    return COMPLETE.judged(
        f"{len(here)} parts; rows and bytes of all, SHA-256 of {len(e.checksums)} agree", good=True, numbers=numbers
    )


def readable(e: Evidence) -> Gate:
    """Rows with a good cutout and no stamp."""
    bad = sum(e.reasons.values())
    looked_at = e.n_pixel_rows + bad - int((e.keys.get("pixel_state", np.zeros(0)) == UNREADABLE).sum())
    if looked_at == 0:
        return READABLE.not_checked("no pixels were looked at")
    numbers = {"reasons": dict(e.reasons), "examples": [fault._asdict() for fault in e.examples]}
    why = ", ".join(f"{n} x {reason}" for reason, n in e.reasons.most_common(N_NAMED))
    where = "; ".join(f"{fault.path} row {fault.row}" for fault in e.examples[:N_NAMED])
    measured = f"{bad:,} of {looked_at:,} rows" + (f": {why} ({where})" if bad else "")
    allowed = f"<= {e.limits.max_unreadable_fraction:.1%}"
    return READABLE.judged(
        measured, good=bad <= e.limits.max_unreadable_fraction * looked_at, allowed=allowed, numbers=numbers
    )


def cutout_ok(e: Evidence) -> Gate:
    """Share of good cutouts, the worst split's."""
    shares = _per_split(e, e.keys["cutout_ok"].astype(float), np.ones(e.n_rows, bool))
    worst = min(shares, key=lambda split: shares[split])
    return CUTOUT_OK.judged(
        _shares(shares),
        good=shares[worst] >= e.limits.min_cutout_ok,
        allowed=f">= {e.limits.min_cutout_ok:.0%}",
        numbers=shares,
    )


def finite(e: Evidence) -> Gate:
    """Stamps with a pixel that is no number."""
    bad = (e.keys["pixel_state"] == NOT_FINITE) & e.keys["cutout_ok"]
    if e.n_pixel_rows == 0:
        return FINITE.not_checked("no pixels were looked at")
    n = int(bad.sum())
    measured = f"{n:,} of {e.n_pixel_rows:,} stamps" + (f": {rows_named(e, bad)}" if n else "")
    return FINITE.judged(measured, good=n == 0, allowed="none", numbers={"n": n})


def lit(e: Evidence) -> Gate:
    """Stamps with a dark or constant band."""
    bad = np.isin(e.keys["pixel_state"], (DARK, CONSTANT)) & e.keys["cutout_ok"]
    if e.n_pixel_rows == 0:
        return LIT.not_checked("no pixels were looked at")
    n, limit = int(bad.sum()), e.limits.max_blank_fraction
    measured = f"{n:,} of {e.n_pixel_rows:,} stamps" + (f": {rows_named(e, bad)}" if n else "")
    return LIT.judged(measured, good=n <= limit * e.n_pixel_rows, allowed=f"<= {limit:.1%}", numbers={"n": n})


def balance(e: Evidence) -> Gate:
    """Share of injections of the good rows, split by split."""
    if "injected" not in e.keys:
        return BALANCE.lacks(["injected, is_control, label or lens_model"])
    known = e.keys["cutout_ok"] & (e.keys["injected"] >= 0)
    shares = _per_split(e, (e.keys["injected"] == 1).astype(float), known)
    limits = e.limits.injected_fraction
    good = all(limits.low <= share <= limits.high for share in shares.values())
    measured = "injected: " + _shares(shares)
    return BALANCE.judged(measured, good=good, allowed=f"{limits.low:.0%} to {limits.high:.0%}", numbers=shares)


def proportions(e: Evidence) -> Gate:
    """Rows of the splits."""
    if "split" not in e.keys or not e.splits:
        return PROPORTIONS.lacks(["split or region_split"])
    counts = {split: int((e.split_codes == e.names["split"].index(split)).sum()) for split in e.splits}
    shares = {split: n / sum(counts.values()) for split, n in counts.items()}
    if "train" not in counts or len(counts) == 1:
        return PROPORTIONS.not_applicable(f"one split, or none to train on: {', '.join(counts)}")
    good = shares["train"] >= e.limits.min_train_fraction
    return PROPORTIONS.judged(
        _shares(shares), good=good, allowed=f"train >= {e.limits.min_train_fraction:.0%}", numbers=counts
    )


def rows_named(e: Evidence, bad: np.ndarray) -> str:
    """The first few of the rows ``bad`` (n_rows,), by file and row."""
    found = np.flatnonzero(bad)
    names = [f"{e.files.parts[e.keys['part'][i]].name} row {e.keys['row'][i]}" for i in found[:N_NAMED]]
    return "; ".join(names) + (f"; {len(found) - N_NAMED:,} more" if len(found) > N_NAMED else "")


def _per_split(e: Evidence, values: np.ndarray, chosen: np.ndarray) -> dict[str, float]:
    """Mean of the ``chosen`` values of every split (of all rows where the set has no splits); 0 where none is."""
    groups = {split: e.split_codes == e.names["split"].index(split) for split in e.splits} or {"all": chosen}
    return {
        split: float(values[here & chosen].mean()) if (here & chosen).any() else 0.0 for split, here in groups.items()
    }


def _shares(shares: dict[str, float]) -> str:
    return ", ".join(f"{split} {share:.2%}" for split, share in shares.items())


def _named(items: list[str], suffix: str = "") -> str:
    more = f"; {len(items) - N_NAMED} more" if len(items) > N_NAMED else ""
    return "; ".join(f"{item} {suffix}".strip() for item in items[:N_NAMED]) + more
