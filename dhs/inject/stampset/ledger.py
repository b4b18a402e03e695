"""Which parts of a set are finished: those whose ledger entry and file agree. In threads, for the sake of buckets."""

import json
import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from dhs.inject.stampset.faults import faults_as_lines
from dhs.inject.stampset.place import Place
from dhs.inject.stampset.plan import PlannedPart
from dhs.inject.stampset.write import Record

_LOG = logging.getLogger("dhs")

N_THREADS = 16


def finished_parts(
    place: Place, parts: Sequence[PlannedPart], *, verify: bool, retry_failed: bool
) -> dict[int, Record]:
    """Ledger entries, by number, of the parts that need not be made again; damaged ones are named in the log."""
    entries = set(place.names("_ledger", suffix=".json"))
    begun = [part for part in parts if part.ledger_path in entries]
    with ThreadPoolExecutor(N_THREADS) as pool:
        found = list(pool.map(lambda part: _entry(place, part, verify=verify), begun))
    finished = {}
    for part, entry in zip(begun, found, strict=True):
        if isinstance(entry, str):
            _LOG.warning("%s is damaged (%s): making it again", place.show(part.path), entry)
        elif not (retry_failed and entry["failures"]):
            finished[part.number] = entry
    return finished


def _entry(place: Place, part: PlannedPart, *, verify: bool) -> Record | str:
    """The part's entry, or what is wrong with it or its file."""
    with faults_as_lines(place.show(part.ledger_path)):
        try:
            entry = json.loads(place.read(part.ledger_path))
            same = (entry["path"], entry["first_row"], entry["n_rows"]) == (part.path, part.first_row, part.n_rows)
            n_bytes, sha256, _ = entry["n_bytes"], entry["sha256"], entry["failures"]
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError):
            return "its ledger entry is not readable"
        if not same:
            return "its ledger entry is of other rows"
        size = place.n_bytes(part.path)
        if size != n_bytes:
            return "the file is missing" if size is None else f"{size} bytes, written were {n_bytes}"
        if verify and place.sha256(part.path) != sha256:
            return "another SHA-256 than when it was written"
    return entry


def totals(records: Iterable[Record]) -> Record:
    """`_SUCCESS.json`: the sums over all ledger entries; equal sets have equal ones."""
    out: Record = {"n_parts": 0, "n_rows": 0, "n_ok": 0, "n_bytes": 0}
    failures: Counter[str] = Counter()
    splits: dict[str, dict[str, int]] = {}
    for record in records:
        split = splits.setdefault(record["split"], {"n_parts": 0, "n_rows": 0, "n_ok": 0})
        for name, n in (("n_parts", 1), *((key, record[key]) for key in ("n_rows", "n_ok"))):
            out[name] += n
            split[name] += n
        out["n_bytes"] += record["n_bytes"]
        failures.update(record["failures"])
    return out | {"failures": dict(sorted(failures.items())), "splits": splits}
