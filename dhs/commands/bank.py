"""`inject.py task=bank`: a source bank from a catalogue of real galaxies; `train.py` builds a missing one likewise."""

import logging

from dhs.commands.console import DrawingProgress
from dhs.config.root import InjectRoot
from dhs.config.source import CosmosSource, StampsSource

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
    from dhs.source.cosmos import build_cosmos_bank

    """Build ``source.bank`` and log what became of the catalogue."""
    log.info("building %s from %s", source.bank, source.build.catalog_dir)
    summary = build_cosmos_bank(source)
    for line in str(summary).splitlines():
        log.info("%s", line)


def build_from_stamps(source: StampsSource) -> None:
    """Build ``source.bank`` from the user's own files and log what became of them."""
    from dhs.source.stamps import build_stamps_bank

    summary = build_stamps_bank(source, progress=DrawingProgress(what="cleaning stamps", unit="stamps"))
    log.info("%s", summary)
