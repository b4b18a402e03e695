"""Scores are made once, survive a kill, and are never taken for those of another finder or other stamps."""

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dhs.evaluate.scored_set import identity_of, score_items, write_table


class Items:
    """Stamps whose 'pixels' are their index."""

    cutouts = None
    identity = "counting"

    def __init__(self, n, *, die_at=None):
        self.n, self.die_at, self.made = n, die_at, []

    def __len__(self):
        return self.n

    def stamps(self, indices):
        if self.die_at is not None and self.die_at in indices:
            raise KeyboardInterrupt
        self.made += indices.tolist()
        return SimpleNamespace(values=indices)

    def columns(self, stamps, indices):
        assert (stamps.values == indices).all()
        return {"twice": 2 * indices}


class Finder:
    def __init__(self, *, nan_at=None):
        self.nan_at = nan_at

    def maker(self, cutouts):
        return lambda stamps: stamps.values

    def logits(self, batch):
        values = np.asarray(batch, dtype=np.float64)
        return np.where(values == self.nan_at, np.nan, np.sin(values))


def score(path, items, *, finder=None, identity="a", batch_size=7, num_workers=0):
    return score_items(
        finder or Finder(), items, path=path, batch_size=batch_size, num_workers=num_workers, identity=identity,
        label="scoring", part_rows=20,
    )  # fmt: skip


def test_scores_are_float32_in_order_with_the_items_columns(tmp_path):
    table = score(tmp_path / "test.parquet", Items(53))
    assert table.schema.field("logit").type == pa.float32()
    np.testing.assert_array_equal(table["index"], np.arange(53))
    np.testing.assert_array_equal(table["twice"], 2 * np.arange(53))
    np.testing.assert_array_equal(table["logit"], np.sin(np.arange(53.0)).astype(np.float32))
    assert pq.read_table(tmp_path / "test.parquet").equals(table)
    assert [path.name for path in tmp_path.iterdir()] == ["test.parquet"]


@pytest.mark.parametrize("num_workers", [1, 2])
def test_workers_do_not_change_the_table(tmp_path, num_workers):
    alone = score(tmp_path / "alone.parquet", Items(53))
    assert score(tmp_path / "many.parquet", Items(53), num_workers=num_workers).equals(alone)


def test_a_killed_run_goes_on_where_its_last_part_ended_whatever_the_batch_size(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        score(tmp_path / "test.parquet", Items(53, die_at=47))
    assert not (tmp_path / "test.parquet").exists()
    again = Items(53)
    table = score(tmp_path / "test.parquet", again, batch_size=5)
    assert sorted(again.made) == list(range(40, 53))
    assert table.equals(score(tmp_path / "whole.parquet", Items(53)))


def test_finished_scores_are_read_and_not_made_again(tmp_path):
    first = score(tmp_path / "test.parquet", Items(53))
    items = Items(53)
    assert score(tmp_path / "test.parquet", items).equals(first)
    assert items.made == []


def test_scores_and_parts_of_another_identity_are_made_anew_and_that_is_said(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("logging.Logger.propagate", True, raising=False)
    score(tmp_path / "test.parquet", Items(53))
    with pytest.raises(KeyboardInterrupt):
        score(tmp_path / "test.parquet", Items(53, die_at=47), identity="b")
    items = Items(53)
    with caplog.at_level("INFO", logger="dhs"):
        table = score(tmp_path / "test.parquet", items, identity="c")
    assert sorted(items.made) == list(range(53))
    assert identity_of(table) == "" or identity_of(pq.read_table(tmp_path / "test.parquet")) == "c"
    assert any("another checkpoint or other settings" in message for message in caplog.messages)


def test_a_damaged_part_is_made_again(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        score(tmp_path / "test.parquet", Items(53, die_at=47))
    (tmp_path / "test.parts" / "part-000001.parquet").write_bytes(b"PAR1 cut short")
    items = Items(53)
    score(tmp_path / "test.parquet", items)
    assert sorted(items.made) == list(range(20, 53))


def test_a_logit_that_is_not_finite_is_one_line_that_names_the_stamp(tmp_path):
    with pytest.raises(ValueError, match=r"^scoring: the logit of stamp 31 is not finite; .*$"):
        score(tmp_path / "test.parquet", Items(53), finder=Finder(nan_at=31))


def test_nothing_to_score_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no stamps to score"):
        score(tmp_path / "test.parquet", Items(0))


def test_a_table_without_identity_is_nobodys(tmp_path):
    write_table(pa.table({"logit": [1.0]}), path=tmp_path / "x.parquet", identity="mine")
    assert identity_of(pq.read_table(tmp_path / "x.parquet")) == "mine"
    assert identity_of(pa.table({"logit": [1.0]})) == ""
