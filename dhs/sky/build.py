"""Builds the `CutoutSet` that `sky=` asks for."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from dhs.config.sky import FilesSky, MockSky, SkyConfig, SplitConfig, StampsSky, StoreSky
from dhs.remote import local_file, local_folder
from dhs.sky.cutouts import CutoutSet
from dhs.sky.files import load_files_sky
from dhs.sky.mock_cache import load_mock_sky
from dhs.sky.store import load_store_sky


def load_sky(
    config: SkyConfig,
    *,
    cache_dir: Path,
    max_galaxies: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> CutoutSet:
    """The first ``max_galaxies`` (null: all) of ``config``.

    A mock sky is drawn into ``cache_dir`` once, calling ``progress(done, total)``; what a URL names is fetched into it
    once (`dhs.remote`).
    """
    if isinstance(config, MockSky):
        n_galaxies = min(config.n_galaxies, max_galaxies or config.n_galaxies)
        wanted = config.model_copy(update={"n_galaxies": n_galaxies})
        return load_mock_sky(wanted, cache_dir=cache_dir, progress=progress)
    if isinstance(config, StoreSky):
        return load_store_sky(_fetched_store(config, cache_dir=cache_dir), max_galaxies=max_galaxies)
    if isinstance(config, StampsSky):
        raise ValueError("sky = stamps: finished stamps, nothing can be injected into them; it is for train.py")
    assert isinstance(config, FilesSky), "sky=dr10 has no pixels: the root schemas refuse it"
    cutouts = load_files_sky(_fetched_files(config, cache_dir=cache_dir))
    return cutouts if max_galaxies is None else cutouts.take(np.arange(min(max_galaxies, len(cutouts))))


def open_cutouts(paths: Sequence[Path], *, stamp_size_px: int | None = None, key: str = "anchors.cutouts") -> CutoutSet:
    """A store's cutouts, or those of NPZ and FITS files: for looking at and auditing, where the split is no matter.

    ``stamp_size_px``: what a store must have, and files are cut to; None: any, and 64.

    Raises:
        ValueError: a store among other paths, one of other stamps, or a fault of `load_store_sky` or `load_files_sky`.
    """
    if any(path.is_dir() for path in paths):
        if len(paths) > 1:
            raise ValueError(f"{key} = {', '.join(map(str, paths))}: give one store, or files, not both")
        store = load_store_sky(StoreSky.model_validate({"name": "store", "path": paths[0]}))
        if stamp_size_px not in (None, store.stamp_size_px):
            raise ValueError(
                f"{key} = {paths[0]}: stamps of {store.stamp_size_px} px: the network was trained on "
                f"{stamp_size_px}; fetch them again with that size"
            )
        return store
    settings = {"name": "files", "paths": tuple(paths), "split": SplitConfig.model_validate({})}
    if stamp_size_px is not None:
        settings["stamp_size_px"] = stamp_size_px
    return load_files_sky(FilesSky.model_validate(settings))


def _fetched_store(config: StoreSky, *, cache_dir: Path) -> StoreSky:
    if isinstance(config.path, Path):
        return config
    folder = local_folder(config.path, cache_dir=cache_dir, key="sky.path", must_hold="store.json")
    return config.model_copy(update={"path": folder})


def _fetched_files(config: FilesSky, *, cache_dir: Path) -> FilesSky:
    paths = [
        path if isinstance(path, Path) else local_file(path, cache_dir=cache_dir, key="sky.paths")
        for path in config.paths
    ]
    return config.model_copy(update={"paths": tuple(paths)})
