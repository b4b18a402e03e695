"""Which stamp `task=one` shows: a sample of a stream, a row of a manifest, or a recipe of the user's own.

Each gives a `Painter` and one recipe. What is painted from it is the stream's stamp, or the stamp set's, bit for bit.
"""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dhs.config.location import is_url
from dhs.config.one import OneTask, RecipeKeys
from dhs.config.root import InjectionRoot
from dhs.config.sky import FilesSky, MockSky, SplitConfig
from dhs.constants import BANDS
from dhs.inject.build import Progress, build_injector, build_painter
from dhs.inject.colour import draw_magnitudes, source_magnitudes
from dhs.inject.injector import HOST_CLASSES
from dhs.inject.one.manifest_row import read_row
from dhs.inject.painter import Painter
from dhs.inject.prior import Geometry, draw_geometry
from dhs.inject.recipe import RecipeBatch, controls, recipes_from
from dhs.inject.strength import build_strength, galaxies_of, require_known
from dhs.rng import Purpose, derived_rng, keyed_rng, stable_hash
from dhs.sky.cutouts import CutoutSet


class Chosen(NamedTuple):
    """One recipe and what paints it."""

    painter: Painter
    recipe: RecipeBatch
    """Of length 1."""
    title: str
    """Where it comes from, in words."""
    config: InjectionRoot
    """What the painter was built from: a given cutout is its sky."""


def choose(config: InjectionRoot, *, task: OneTask, progress: Progress | None = None) -> Chosen:
    """The stamp that ``task`` asks for.

    Raises:
        ValueError: no such sample, row or galaxy, or a recipe that cannot be painted; one line.
    """
    if task.cutout is not None:
        sky = _sky_of_cutout(config, task.cutout)
        config = config.model_copy(update={"sky": sky, "max_galaxies": None})
    if task.stream is not None:
        return Chosen(*_of_stream(config, task, index=task.stream, progress=progress), config)
    painter = build_painter(config, progress=progress)
    if task.manifest is not None:
        recipe, title = _of_manifest(painter.cutouts, task, path=task.manifest)
    else:
        row = _galaxy(painter.cutouts, task, seed=config.seed)
        recipe = recipe_of_keys(painter, row, keys=task.recipe or RecipeKeys.model_validate({}), config=config)
        title = f"recipe on {task.cutout or f'galaxy {recipe.target_id[0]}'}, seed {config.seed}"
    return Chosen(painter, recipe, title, config)


def recipe_of_keys(painter: Painter, row: int, *, keys: RecipeKeys, config: InjectionRoot) -> RecipeBatch:
    """The recipe of ``keys`` on the galaxy ``row``; what they do not give is drawn once from the priors.

    The draw is a pure function of the configuration's seed and the galaxy's id; a given value changes no other draw.
    """
    cutouts, rows = painter.cutouts, np.array([row])
    index = stable_hash(str(cutouts.target_id[row])) >> 1
    key = np.array([(config.seed, int(Purpose.ONE), 0, index)], dtype=np.int64)
    if not keys.injected:
        return controls(cutouts, rows, keys=key)
    given = {name: np.array([value]) for name, value in keys.given().items()}
    _require_possible(painter, given, rows=rows, config=config)
    geometry = draw_geometry(
        [keyed_rng(config.seed, Purpose.ONE, 0, index)],
        galaxies=galaxies_of(cutouts, rows),
        lens=config.lens,
        strength=build_strength(config.lens),
        choose_source=painter.source.choose,
        given={name: given[name] for name in given.keys() & Geometry.__dataclass_fields__.keys()},
    )
    own_mag = source_magnitudes(painter.source, colour=config.colour)
    drawn_mag = draw_magnitudes(
        [derived_rng(config.seed, Purpose.PHOTOMETRY, 0, index, of=Purpose.ONE)],
        colour=config.colour,
        n_draws=1,
        z_source=geometry.z_source,
        own_mag=None if own_mag is None else own_mag[geometry.source_index],
    )[:, 0]
    recipe = recipes_from(cutouts, rows, geometry=geometry, source_mag=_magnitudes(drawn_mag, given))
    flat = recipe.columns() | {name: value for name, value in given.items() if name.startswith("psf_")}
    return replace(RecipeBatch.from_columns(flat), key=key)


def _of_stream(
    config: InjectionRoot, task: OneTask, *, index: int, progress: Progress | None
) -> tuple[Painter, RecipeBatch, str]:
    injector = build_injector(config, progress=progress)
    purpose = Purpose[task.purpose.upper()]
    n_stamps = injector.n_stamps(purpose)
    if index >= n_stamps:
        raise ValueError(f"task.stream = {index}: the {task.purpose} stream has the samples 0 to {n_stamps - 1}")
    stamps = injector.stamps(np.array([index]), purpose=purpose, epoch=task.epoch)
    title = f"{task.purpose} stream, seed {config.seed}, epoch {task.epoch}, sample {index}"
    return injector.painter, stamps.recipes, title


def _of_manifest(cutouts: CutoutSet, task: OneTask, *, path: str) -> tuple[RecipeBatch, str]:
    found = read_row(path, row=task.row, task_id=task.task_id)
    target_id = int(found.columns["target_id"][0])
    (row,) = cutouts.rows_of(np.array([target_id]))
    if row < 0:
        raise ValueError(
            f"{path}: task {found.task_id} is on galaxy {target_id}, which this sky ({len(cutouts)} galaxies) does not "
            "have; give the sky= that the manifest was made for"
        )
    recipe = RecipeBatch.from_columns(found.columns | {"row": np.array([row])})
    return recipe, f"{Path(path).name}, task {found.task_id}"


def _sky_of_cutout(config: InjectionRoot, path: str) -> FilesSky:
    """`sky=files` of one file; size, scale and seeing as configured where the sky is of files already."""
    if isinstance(config.sky, FilesSky):
        return config.sky.model_copy(update={"paths": (path if is_url(path) else Path(path),)})
    size = config.sky.stamp_size_px if isinstance(config.sky, MockSky) else 64
    split = SplitConfig.model_validate({})
    return FilesSky.model_validate({"name": "files", "paths": (path,), "stamp_size_px": size, "split": split})


def _galaxy(cutouts: CutoutSet, task: OneTask, *, seed: int) -> int:
    """Row of the galaxy that a user's recipe goes into."""
    if task.cutout is not None:
        if task.row is None and len(cutouts) > 1:
            raise ValueError(f"{task.cutout}: {len(cutouts)} cutouts; say which one with task.row=0 ...")
        if (task.row or 0) >= len(cutouts):
            raise ValueError(f"task.row = {task.row}: {task.cutout} has the cutouts 0 to {len(cutouts) - 1}")
        return task.row or 0
    if task.target_id is not None:
        (row,) = cutouts.rows_of(np.array([task.target_id]))
        if row < 0:
            raise ValueError(
                f"task.target_id = {task.target_id}: not among the {len(cutouts)} galaxies of this sky, ids "
                f"{cutouts.target_id.min()} to {cutouts.target_id.max()}"
            )
        return int(row)
    hosts = cutouts.rows(split="train", classes=HOST_CLASSES)
    if len(hosts) == 0:
        raise ValueError("task.target_id = null: the sky has no LRG of the training split to choose; give one")
    return int(hosts[keyed_rng(seed, Purpose.ONE, 1, 0).integers(len(hosts))])


def _require_possible(
    painter: Painter, given: dict[str, np.ndarray], *, rows: np.ndarray, config: InjectionRoot
) -> None:
    n_sources = painter.source.n_sources
    if "source_index" in given and given["source_index"][0] >= n_sources:
        raise ValueError(
            f"task.recipe.source_index = {given['source_index'][0]}: source = {config.source.name} has the indices 0 "
            f"to {n_sources - 1}"
        )
    shaped = [name for name in given if name.startswith("psf_")]
    if shaped and config.psf.name == "survey":
        raise ValueError(f"task.recipe.{shaped[0]}: psf = survey takes the PSF's image; use psf=moffat or gaussian")
    if "theta_e_arcsec" not in given:
        require_known(config.lens, painter.cutouts, hosts=rows)


def _magnitudes(drawn: np.ndarray, given: dict[str, np.ndarray]) -> np.ndarray:
    """(1, bands): the drawn colours at the given r, then the other given bands."""
    mags = drawn.copy()
    if "source_r_mag" in given:
        mags += given["source_r_mag"] - mags[:, BANDS.index("r")]
    for i, band in enumerate(BANDS):
        if f"source_{band}_mag" in given:  # exactly as given, not to rounding
            mags[:, i] = given[f"source_{band}_mag"]
    return mags
