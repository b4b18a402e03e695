"""What a run keeps of the stamp set it was trained on, and the check that it is the same set when the run goes on."""

import json
from pathlib import Path
from typing import Any

from dhs.config.run_dir import write_text
from dhs.inject.stampset.read import open_stamp_set

CARD = "stamp_set.json"


def set_card(path: str, *, key: str) -> dict[str, Any]:
    """Checksum, totals, and what the set says of itself: configuration, manifest, versions."""
    stamps = open_stamp_set(path, key=key)
    return {
        "path": path,
        "checksum": stamps.checksum,
        "n_rows": stamps.n_rows,
        "totals": stamps.totals,
        "metadata": stamps.metadata,
    }


def keep_card(run_dir: Path, path: str) -> None:
    """Write the card of the set at ``path`` into ``run_dir``; ValueError where the run was begun with another set."""
    card, kept = set_card(path, key="sky.path"), run_dir / CARD
    if kept.is_file() and json.loads(kept.read_text())["checksum"] != card["checksum"]:
        raise ValueError(
            f"sky.path = {path}: not the stamp set that {run_dir} was begun with (another checksum); give that one, or "
            "resume=never"
        )
    write_text(kept, json.dumps(card, indent=2, sort_keys=True) + "\n")
