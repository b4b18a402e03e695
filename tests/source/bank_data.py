"""A small good bank of Sersic galaxies, to be written and spoilt, and the memory that processes share."""

import os
from pathlib import Path

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


def touch_and_wait(bank, ready, leave):
    """A worker: reads every page of the bank, says where it is, and stays until it may leave.

    With numpy, because torch's thread pool does not survive a fork (the streams' workers set one thread).
    """
    pixels = bank.stack().images.numpy()
    ready.put((os.getpid(), float(pixels.sum()), pixels.ctypes.data))
    leave.wait(60)


def mapping_at(pid, address):
    """File ('' for none) and sizes in bytes (Rss, Pss, Private_Dirty ...) of the mapping that holds ``address``.

    From /proc/PID/smaps of Linux; an anonymous mapping may hold more than what is at the address.
    """
    name, sizes = None, {}
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        first, *rest = line.split(maxsplit=5)
        if "-" in first and not first.endswith(":"):
            if sizes:
                break
            low, high = (int(end, 16) for end in first.split("-"))
            name = (rest[4] if len(rest) == 5 else "") if low <= address < high else None
        elif name is not None and rest[-1] == "kB":
            sizes[first[:-1]] = 1024 * int(rest[0])
            found = name
    assert sizes, f"no mapping of {pid} holds {address:x}"
    return found, sizes
