"""The list of hard negatives: only galaxies of the run's own train sky, whatever the list says."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import binomtest

from dhs.constants import CLASSES, SPLITS
from dhs.inject.build import build_injector
from dhs.inject.hard_list import SCHEMA, hard_rows, may_host, read_hard_list, write_hard_list
from dhs.inject.injector import Injector
from dhs.inject.mix import HARD_NEGATIVE, NEGATIVE
from dhs.rng import Purpose
from dhs.sky.cutouts import CutoutSet

MANY = np.arange(2000)


@pytest.fixture(scope="module")
def sky(small_config) -> CutoutSet:
    return build_injector(small_config()).cutouts


@pytest.fixture(scope="module")
def build(small_config, sky) -> Callable[..., Injector]:
    def make(*overrides: str) -> Injector:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("dhs.inject.build.load_sky", lambda *_, **__: sky)
            return build_injector(small_config(*overrides))

    return make


@pytest.fixture(scope="module")
def negatives(build) -> np.ndarray:
    """Train rows that serve as negatives."""
    return build().pool(Purpose.TRAIN).negatives


def columns(sky: CutoutSet, rows: np.ndarray) -> dict[str, Any]:
    return {
        "target_id": sky.target_id[rows],
        "ra_deg": sky.ra_deg[rows],
        "dec_deg": sky.dec_deg[rows],
        "class": np.array(CLASSES)[sky.kind[rows]],
        "score": np.linspace(4, 1, len(rows)).astype(np.float32),
        "rank": np.arange(1, len(rows) + 1, dtype=np.int32),
        "origin": ["sky=mock"] * len(rows),
        "checkpoint": ["0123456789abcdef"] * len(rows),
        "split": np.array(SPLITS)[sky.split[rows]],
    }


def written(path: Path, sky: CutoutSet, rows: np.ndarray, **changes: Any) -> Path:
    write_hard_list(path, columns(sky, rows) | changes, provenance={"why": "test"})
    return path


def used(path: Path, sky: CutoutSet, *, controls: str = "unpaired") -> np.ndarray:
    return hard_rows(read_hard_list(path, key="key"), sky=sky, controls=controls, where=f"key = {path}").rows


def test_a_list_is_its_share_of_the_negatives_and_changes_nothing_else(build, sky, negatives, tmp_path):
    path = written(tmp_path / "hard.parquet", sky, negatives[:9])
    injector = build(f"inject.negatives.hard.path={path}", "inject.negatives.hard.fraction=0.3")
    rows, origins = injector.origins(MANY, purpose=Purpose.TRAIN)
    plain, before = build().origins(MANY, purpose=Purpose.TRAIN)
    hard, others = origins == HARD_NEGATIVE, origins == NEGATIVE
    assert set(rows[hard]) == set(negatives[:9])
    assert binomtest(int(hard.sum()), int((hard | others).sum()), 0.3).pvalue > 1e-4
    assert np.array_equal(rows[~hard], plain[~hard])
    assert np.array_equal(before == NEGATIVE, hard | others)
    for purpose in (Purpose.VAL, Purpose.TEST):
        every = np.arange(injector.n_stamps(purpose))
        assert np.array_equal(injector.origins(every, purpose=purpose), build().origins(every, purpose=purpose))


def test_a_galaxy_of_the_test_sky_is_refused_even_where_the_list_calls_it_train(build, sky, negatives, tmp_path):
    test = sky.rows(split="test")[:1]
    rows = np.concatenate([negatives[:5], test])
    path = written(tmp_path / "edited.parquet", sky, rows, split=["train"] * 6)
    line = rf"edited.parquet: 1 of 6 galaxies are of the test sky, first target_id {sky.target_id[test[0]]}: never"
    with pytest.raises(ValueError, match=line) as error:
        build(f"inject.negatives.hard.path={path}")
    assert len(str(error.value).splitlines()) == 1


def test_a_galaxy_that_the_list_calls_test_is_refused_even_where_the_sky_says_train(sky, negatives, tmp_path):
    path = written(tmp_path / "h.parquet", sky, negatives[:3], split=["train", "test", "train"])
    with pytest.raises(ValueError, match=rf"1 of 3 galaxies are of the test sky, .*{sky.target_id[negatives[1]]}"):
        used(path, sky)


def test_validation_galaxies_and_hosts_are_left_out_and_counted(build, sky, negatives, tmp_path):
    val, hosts = sky.rows(split="val")[:2], build().pool(Purpose.TRAIN).hosts[:3]
    path = written(tmp_path / "h.parquet", sky, np.concatenate([negatives[:4], val, hosts]))
    found = hard_rows(read_hard_list(path, key="key"), sky=sky, controls="unpaired", where="w")
    assert np.array_equal(found.rows, negatives[:4])
    assert found.left_out == {"of the validation sky": 2, "hosts of arcs": 3}
    assert set(used(path, sky, controls="paired")) == {*negatives[:4], *hosts}
    only_val = written(tmp_path / "v.parquet", sky, val)
    with pytest.raises(ValueError, match=r"none of its 2 galaxies can serve \(2 of the validation sky"):
        used(only_val, sky)
    assert not may_host(sky, negatives).any()


def test_a_list_of_another_sky_is_one_line(build, sky, negatives, tmp_path):
    unknown = written(tmp_path / "u.parquet", sky, negatives[:3], target_id=np.array([1, 2, 10**9]))
    with pytest.raises(ValueError, match=r"a list of another sky: 1 of 3 galaxies are not in this one, .* 1000000000"):
        build(f"inject.negatives.hard.path={unknown}")
    moved = written(tmp_path / "m.parquet", sky, negatives[:3], dec_deg=sky.dec_deg[negatives[:3]] + 2 / 3600)
    with pytest.raises(ValueError, match=r"another sky: 3 of 3 galaxies are elsewhere in this one, .* by 2 arcsec"):
        build(f"inject.negatives.hard.path={moved}")


def test_bad_lists_are_one_line(sky, negatives, tmp_path):
    empty = written(tmp_path / "empty.parquet", sky, negatives[:0])
    with pytest.raises(ValueError, match=r"key = .*empty.parquet: has no rows"):
        read_hard_list(empty, key="key")
    twice = written(tmp_path / "twice.parquet", sky, negatives[[0, 1, 1]])
    with pytest.raises(ValueError, match=r"1 target_id are listed twice"):
        read_hard_list(twice, key="key")
    for name in ("target_id", "ra_deg", "class", "split"):
        table = pq.read_table(written(tmp_path / "h.parquet", sky, negatives[:3])).drop_columns([name])
        pq.write_table(table, tmp_path / "h.parquet")
        with pytest.raises(ValueError, match=rf"has no column {name}"):
            read_hard_list(tmp_path / "h.parquet", key="key")
    (tmp_path / "text.parquet").write_text("target_id\n3\n")
    with pytest.raises(ValueError, match=r"text.parquet: not a Parquet list"):
        read_hard_list(tmp_path / "text.parquet", key="key")


def test_a_list_says_what_it_was_made_of(sky, negatives, tmp_path):
    table = read_hard_list(written(tmp_path / "h.parquet", sky, negatives[:3]), key="key")
    assert table.schema.equals(SCHEMA)
    assert table.schema.metadata[b"dhs_schema"] == b"hard_negatives/1"
    assert table.schema.metadata[b"provenance"] == b'{"why": "test"}'
    assert isinstance(table, pa.Table)
