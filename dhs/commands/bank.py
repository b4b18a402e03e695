"""`inject.py task=bank`: a source bank from a catalogue of real galaxies; `train.py` builds a missing one likewise."""

import logging
import time
from typing import TYPE_CHECKING

from dhs.config.root import InjectRoot
from dhs.config.source import CosmosSource, StampsSource
from dhs.progress import CountingProgress

if TYPE_CHECKING:
    from dhs.source.build_pool import BuildState

log = logging.getLogger("dhs")


def bank(config: InjectRoot) -> int:
    """Build ``config.source.bank``."""
    if isinstance(config.source, StampsSource):
        build_from_stamps(config.source)
        return 0
    assert isinstance(config.source, CosmosSource)
    build_bank(config.source)
    return 0


def build_bank(source: CosmosSource) -> None:
    """Build ``source.bank``, continuing a build that was interrupted, and log what became of the catalogue."""
    from dhs.source.cosmos import build_cosmos_bank

    log.info("building %s from %s", source.bank, source.catalog_dir)
    summary = build_cosmos_bank(source, progress=BankProgress())
    log.info("%s", summary)


def build_from_stamps(source: StampsSource) -> None:
    """Build ``source.bank`` from the user's own files and log what became of them."""
    from dhs.source.stamps import build_stamps_bank

    summary = build_stamps_bank(source, progress=CountingProgress("cleaning stamps", "stamps"))
    log.info("%s", summary)


class BankProgress:
    """Logs accepted galaxies with rate, time to go, and why others were refused, every few seconds."""

    def __init__(self, *, every_s: float = 5.0) -> None:
        self._started = self._last = time.monotonic()
        self._every_s = every_s
        self._told_resumed = 0

    def __call__(self, state: "BuildState") -> None:
        if state.n_resumed > self._told_resumed:
            self._told_resumed = state.n_resumed
            return  # read back, not drawn: told with the first new part
        now = time.monotonic()
        if now - self._last < self._every_s:
            return
        self._last = now
        rate = (state.n_tried - state.n_resumed) / max(now - self._started, 1e-9)
        refused = ", ".join(f"{reason} {count}" for reason, count in state.rejected.items())
        log.info(
            "bank: %d/%d sources of %d tried%s, %.0f sources/s, %.0f s to go; refused: %s",
            state.n_accepted,
            state.n_wanted,
            state.n_tried,
            f" ({state.n_resumed} in an earlier run)" if state.n_resumed else "",
            rate * state.n_accepted / state.n_tried,
            max(state.expected_tries - state.n_tried, 0) / max(rate, 1e-9),
            refused or "none",
        )
