"""Which source a task of a manifest gets, and what a source's index means."""

import numpy as np

from dhs.rng import stable_fraction
from dhs.source.base import Source
from dhs.source.mixture import MixtureSourceBank


def source_index_of_task(task_id: str, *, salt: str, source: Source) -> int:
    """Index of the source for ``task_id``: blake2b of the id and ``salt`` (at most 16 bytes of it), then `choose`.

    The same on every machine; another salt gives an independent assignment. The streams of training draw theirs from
    the sample's key instead (`dhs.inject.prior.draw_geometry`).
    """
    return int(source.choose(np.array([stable_fraction(task_id, salt=salt)]))[0])


def kind_and_index(source: Source, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(B,) kind of source (a mixture: the component's label) and (B,) index within it, for a table's columns."""
    if isinstance(source, MixtureSourceBank):
        return source.origin(indices)
    return np.full(len(indices), source.name), np.asarray(indices, np.int64)
