"""From a validated configuration to a source: the one function the rest of the program calls."""

from pathlib import Path

from dhs.config.source import (
    BankedSource,
    ClumpySource,
    CosmosSource,
    MixtureSource,
    SersicSource,
    SourceConfig,
    StampsSource,
)
from dhs.remote import local_file
from dhs.source.bank import open_bank
from dhs.source.base import Source
from dhs.source.clumpy import ClumpySourceBank
from dhs.source.cosmos import build_cosmos_bank
from dhs.source.mixture import MixtureSourceBank
from dhs.source.resident import keep_if_small
from dhs.source.sersic import SersicSourceBank

SOURCE_KINDS: tuple[str, ...] = ("sersic", "clumpy", "cosmos", "stamps", "mixture")
"""Allowed values of ``source.name``."""


def build_source(config: SourceConfig, *, cache_dir: Path | None = None, draw_templates: bool = True) -> Source:
    """The source of ``config``; a missing bank is built first when ``build_if_missing`` says so.

    ``cache_dir`` takes unpacked banks (`dhs.source.bank.open_bank`). ``draw_templates=False`` is for those who only
    choose sources and ask for their sizes: small parametric ones are then not drawn beforehand.

    Raises:
        FileNotFoundError, ValueError: see `dhs.source.bank.open_bank` and `dhs.source.cosmos.build_cosmos_bank`.
    """
    match config:
        case SersicSource():
            sersic = SersicSourceBank(config)
            return keep_if_small(sersic) if draw_templates else sersic
        case ClumpySource():
            clumpy = ClumpySourceBank(config)
            return keep_if_small(clumpy) if draw_templates else clumpy
        case CosmosSource():
            if config.build_if_missing and config.bank_is_absent:
                build_cosmos_bank(config)
            return open_bank(_fetched(config, cache_dir=cache_dir), cache_dir=cache_dir)
        case StampsSource():
            return open_bank(_fetched(config, cache_dir=cache_dir), cache_dir=cache_dir)
        case MixtureSource():
            return MixtureSourceBank(
                {
                    label: (
                        component.weight,
                        build_source(component.source, cache_dir=cache_dir, draw_templates=draw_templates),
                    )
                    for label, component in config.components.items()
                }
            )


def _fetched(config: BankedSource, *, cache_dir: Path | None) -> BankedSource:
    """``config`` with a bank of this machine: that of a URL is fetched into ``cache_dir`` once."""
    if isinstance(config.bank, Path) or cache_dir is None:
        return config
    return config.model_copy(update={"bank": local_file(config.bank, cache_dir=cache_dir, key="source.bank")})
