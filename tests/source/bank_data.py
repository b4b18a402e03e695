"""A small good bank of Sersic galaxies, to be written and spoilt."""

import numpy as np

from dhs.config.source import BankBuild, CosmosSource, SersicSource
from dhs.source.bank import write_bank
from dhs.source.build import build_source

ATTRIBUTES = {"src_pixscale_arcsec": 0.03, "stamp_size": 96, "galaxy_kind": "real"}


def bank_config(path, **about):
    return CosmosSource(name="cosmos", bank=path, build=BankBuild(), **about)


def sersic_contents(n):
    """(n, S, S) images and columns of a bank of n Sersic galaxies; the index column starts at 100."""
    source = build_source(SersicSource(name="sersic", seed=3, n_sources=n))
    templates = source.templates(np.arange(n))
    meta = {
        "index": np.arange(100, 100 + n),
        "hlr_arcsec": source.half_light_radius_arcsec(np.arange(n)),
        "clumpiness": np.full(n, 0.1, np.float32),
        "support_radius_arcsec": templates.support_radius_arcsec.numpy(),
    }
    return templates.each()[:, 0].numpy(), meta


def write_contents(path, contents):
    write_bank(path, images=contents[0], meta=contents[1], attributes=ATTRIBUTES)
