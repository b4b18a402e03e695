"""The job task=cutouts from bricks: what is in the store, bad lists, resume, failures by reason."""

import csv
import gc
import hashlib
import json
import os
import pickle
import signal
import subprocess
import sys
import tarfile
import time
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dhs.config.cutouts import CutoutsTask
from dhs.sky import cutout_shard
from dhs.sky.brick_grid import bricks_around
from dhs.sky.coadd_bricks import BrickReader
from dhs.sky.cutout_job import make_store, plan_shards, rows_of
from dhs.sky.target_list import read_target_list
from tests.sky.store_files import CENTRES, make_task, nothing, target_table, write_bricks

REPO = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def coadd(tmp_path_factory):
    root = tmp_path_factory.mktemp("coadd")
    write_bricks(root)
    return root


def run(task, tmp_path):
    return make_store(task, cache_dir=tmp_path / "cache", progress=nothing)


def digests(store):
    """SHA-256 of every file a store consists of."""
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(store.iterdir()) if p.name != ".lock"}


@pytest.fixture(scope="module")
def store(tmp_path_factory, coadd):
    folder = tmp_path_factory.mktemp("made")
    summary = run(make_task(folder, coadd), folder)
    return folder / "store", summary


def test_every_target_has_a_row_and_the_good_ones_a_cutout(store):
    path, summary = store
    index = pq.read_table(path / "index.parquet").to_pandas()
    assert sorted(index.target_id) == list(range(1000, 1060))
    assert summary.n_cutouts == index.cutout_ok.sum() < 60
    assert dict(index.reason.value_counts()) == {r: n for r, n in summary.reasons.items()}
    assert (index.loc[index.brickname != "0350m150", "reason"] == "").all()
    bad = index[index.brickname == "0350m150"]
    assert set(bad.reason) == {"", "masked_centre"} and (bad.reason != "").sum() == 5
    assert bad.loc[bad.reason != "", "detail"].str.startswith("z band: ").all()
    assert set(index.role) == {"host", "control"}  # columns of the list travel along
    good = index[index.cutout_ok]
    np.testing.assert_allclose(good.psfsize_r_arcsec, 1.2)
    assert set(good.psfsize_source) == {"map"} and set(good.invvar_source) == {"coadd"}
    np.testing.assert_allclose(good.psfdepth_r_mag, 23.9, rtol=1e-6)  # the list's own
    assert good.psfdepth_g_mag.between(23.5, 25.5).all()  # from invvar: sigma 0.002 nMgy per pixel


def webdataset_samples(tars):
    """Every sample as the webdataset package decodes it."""
    webdataset = pytest.importorskip("webdataset")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # webdataset leaves its files to the garbage collector
        samples = [s for tar in tars for s in webdataset.WebDataset(str(tar), shardshuffle=False).decode()]
        gc.collect()
    return {int(sample["__key__"]): sample for sample in samples}


def test_a_tar_is_read_by_webdataset_and_holds_what_the_bricks_hold(store, coadd):
    path, summary = store
    index = pq.read_table(path / "index.parquet").to_pandas()
    good = index[index.cutout_ok]
    samples = webdataset_samples(sorted(path.glob("shard-*.tar")))
    assert sorted(samples) == sorted(good.target_id) and len(samples) == summary.n_cutouts
    ra, dec, bricks = good.ra_deg.to_numpy(), good.dec_deg.to_numpy(), good.brickname.to_numpy(dtype=str)
    wanted = BrickReader(str(coadd), size_px=64).fetch(ra, dec, brick=bricks)
    for i, row in enumerate(good.itertuples()):
        sample = samples[row.target_id]
        np.testing.assert_array_equal(sample["image.npy"], wanted.images[i])
        np.testing.assert_array_equal(sample["invvar.npy"], wanted.invvar[i])
        np.testing.assert_array_equal(sample["maskbits.npy"], wanted.maskbits[i])
        assert sample["json"]["ra_deg"] == row.ra_deg and sample["json"]["psf_fwhm_arcsec"][1] == 1.2
        assert sample["json"]["kind"] == row.kind


def test_offsets_of_the_index_are_those_of_the_tars(store):
    path, _ = store
    index = pq.read_table(path / "index.parquet").to_pandas()
    for shard, rows in index[index.cutout_ok].groupby("shard"):
        with tarfile.open(path / f"shard-{shard:06d}.tar") as tar:
            first = {member.name: member.offset for member in tar.getmembers()}
        for row in rows.itertuples():
            assert first[f"{row.target_id}.image.npy"] == row.offset


def test_the_ledger_names_every_target_left_out(store):
    path, summary = store
    with (path / "ledger.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == summary.n_targets - summary.n_cutouts > 0
    assert all(row["reason"] and row["detail"] and row["brickname"] == "0350m150" for row in rows)
    card = json.loads((path / "store.json").read_text())
    assert sum(card["left_out"].values()) == len(rows)


def test_a_second_run_makes_nothing_and_changes_no_byte(store, tmp_path, monkeypatch):
    path, summary = store
    before = digests(path)
    task = CutoutsTask.model_validate({**make_task(tmp_path, "x").model_dump(), "output": path})
    task = task.model_copy(
        update={
            "bricks": task.bricks.model_copy(
                update={"root": json.loads((path / "job.json").read_text())["bricks"]["root"]}
            )
        }
    )
    monkeypatch.setattr("dhs.sky.cutout_job.make_shard", None)  # would fail if a shard were made
    assert run(task, tmp_path).reasons == summary.reasons
    assert digests(path) == before


def test_the_order_of_the_list_and_the_number_of_processes_change_no_byte(store, coadd, tmp_path):
    path, _ = store
    table = target_table()
    shuffled = table.take(np.random.default_rng(5).permutation(table.num_rows))
    task = make_task(tmp_path, coadd, table=shuffled, bricks={"root": str(coadd), "num_processes": 2})
    run(task, tmp_path)
    assert digests(tmp_path / "store") == digests(path)


def test_bricks_are_never_divided_between_shards(coadd, tmp_path):
    task = make_task(tmp_path, coadd, targets_per_shard=30)
    table = read_target_list(task.targets, kind="lrg", split=task.split)
    table = table.sort_by([("brickname", "ascending"), ("target_id", "ascending")])
    shards = plan_shards(table, task)
    assert [rows.stop - rows.start for rows in shards] == [40, 20]
    names = table["brickname"].to_pylist()
    assert not set(names[shards[0]]) & set(names[shards[1]])
    small = task.model_copy(update={"targets_per_shard": 7})  # a brick of 20 is more than two shards
    parts = plan_shards(table, small)
    assert parts[0].start == 0 and parts[-1].stop == 60
    assert all(left.stop == right.start for left, right in zip(parts, parts[1:], strict=False))
    assert max(rows.stop - rows.start for rows in parts) <= 14


def test_a_worker_is_sent_its_own_targets_and_no_others():
    table = target_table()
    table = pa.concat_tables([table] * 200).combine_chunks()
    rows = rows_of(table, slice(5000, 5010))
    assert rows.equals(table.slice(5000, 10))
    assert len(pickle.dumps(rows)) < 20_000 < len(pickle.dumps(table.slice(5000, 10)))


@pytest.mark.parametrize("damage", ["tar cut", "tar changed", "tar gone", "index gone", "index garbage"])
def test_a_damaged_shard_is_named_and_made_again(store, coadd, tmp_path, damage, caplog):
    task = make_task(tmp_path, coadd)
    run(task, tmp_path)
    before = digests(task.output)
    tar, index = task.output / "shard-000001.tar", task.output / "shard-000001.parquet"
    if damage == "tar cut":
        tar.write_bytes(tar.read_bytes()[:5000])
    elif damage == "tar changed":
        content = bytearray(tar.read_bytes())
        content[3000] ^= 1
        tar.write_bytes(content)
    elif damage == "index garbage":
        index.write_bytes(b"no parquet")
    else:
        (tar if damage == "tar gone" else index).unlink()
    run(task, tmp_path)
    assert digests(task.output) == before
    assert ("shard-000001.tar is damaged" in caplog.text) == damage.startswith("tar")


def test_kill_9_and_a_rerun_give_the_store_of_an_undisturbed_run(coadd, tmp_path):
    """The job is killed twice, at another moment each time, in worker processes and all."""
    task = make_task(tmp_path, coadd, targets_per_shard=4)
    quiet = make_task(tmp_path / "quiet", coadd, targets_per_shard=4)
    run(quiet, tmp_path)
    command = [sys.executable, "-m", "tests.sky.slow_cutouts", str(task.targets), str(task.output), str(coadd)]
    for n_shards in (1, 6):
        process = subprocess.Popen(command, cwd=REPO, start_new_session=True)
        deadline = time.monotonic() + 60
        while len(list(task.output.glob("shard-*.parquet"))) < n_shards and time.monotonic() < deadline:
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert not (task.output / "store.json").exists()
    (task.output / ".shard-000003.tar.1.tmp").write_bytes(b"half a shard")
    run(task, tmp_path)
    assert digests(task.output) == digests(quiet.output)


def test_a_shard_that_dies_while_it_is_made_anew_is_unfinished_even_to_a_quick_look(coadd, tmp_path, monkeypatch):
    """Its old index must not vouch for its new tar, which may have the same length."""
    names = target_table()["brickname"].to_pylist()
    names[2] = "9999p999"
    task = make_task(tmp_path, coadd, table=target_table(brickname=names), verify=False)
    monkeypatch.setattr("dhs.sky.coadd_bricks.bricks_around", lambda *a, **k: [])
    assert run(task, tmp_path).reasons["brick_missing"] == 1
    index = pq.read_table(task.output / "index.parquet").to_pandas()
    shard = int(index.loc[index.target_id == 1002, "shard"].iloc[0])

    def dies(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(cutout_shard, "write_parquet", dies)
    with pytest.raises(KeyboardInterrupt):
        run(task.model_copy(update={"retry_failed": True}), tmp_path)
    assert (task.output / f"shard-{shard:06d}.tar").exists()
    assert not (task.output / f"shard-{shard:06d}.parquet").exists()


def test_failures_are_counted_and_stop_the_job_only_above_the_limit(coadd, tmp_path):
    root = tmp_path / "coadd"
    subprocess.run(["cp", "-r", str(coadd), str(root)], check=True)
    image = root / "035" / "0353m150" / "legacysurvey-0353m150-image-g.fits.fz"
    whole = image.read_bytes()
    image.write_bytes(whole[:20000])
    task = make_task(tmp_path, root)
    with pytest.raises(
        ValueError, match=r"20 of 60 targets could not be had \(20 brick_unreadable\).*0\.2; .*retry_failed"
    ):
        run(task, tmp_path)
    assert not (task.output / "store.json").exists()
    lenient = task.model_copy(update={"max_failed_fraction": 0.5})
    summary = run(lenient, tmp_path)
    assert summary.reasons["brick_unreadable"] == 20
    assert "20 brick_unreadable" in str(summary)
    image.write_bytes(whole)
    assert run(lenient, tmp_path).reasons["brick_unreadable"] == 20  # not asked to try again
    mended = run(lenient.model_copy(update={"retry_failed": True}), tmp_path)
    assert mended.reasons["brick_unreadable"] == 0
    clean = make_task(tmp_path / "clean", root)
    run(clean, tmp_path)
    assert digests(task.output) == digests(clean.output)


def test_positions_outside_the_bricks_are_left_out_by_reason(coadd, tmp_path):
    ra = target_table()["ra_deg"].to_numpy().copy()
    dec = target_table()["dec_deg"].to_numpy().copy()
    names = target_table()["brickname"].to_pylist()
    ra[0], dec[1], names[2] = np.nan, 95.0, "9999p999"
    ra[3], dec[3], names[3] = 120.0, 10.0, bricks_around(120.0, 10.0, within_deg=0.0)[0]
    summary = run(make_task(tmp_path, coadd, table=target_table(ra_deg=ra, dec_deg=dec, brickname=names)), tmp_path)
    assert summary.reasons["bad_position"] == 2
    assert summary.reasons["brick_missing"] == 1
    assert summary.n_targets == 60 and summary.n_cutouts > 40


def test_two_jobs_do_not_work_on_one_store(coadd, tmp_path):
    import fcntl

    task = make_task(tmp_path, coadd)
    task.output.mkdir()
    with (task.output / ".lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(ValueError, match="another job is at work there"):
            run(task, tmp_path)


def test_another_list_or_setting_is_another_store(coadd, tmp_path):
    task = make_task(tmp_path, coadd)
    run(task, tmp_path)
    with pytest.raises(
        ValueError, match=r"holds the store of another job \(other stamp_size_px\); choose another folder"
    ):
        run(task.model_copy(update={"stamp_size_px": 80}), tmp_path)
    pq.write_table(target_table(flux_g_nmgy=np.ones(60)), task.targets)
    with pytest.raises(ValueError, match=r"other targets_sha256"):
        run(task, tmp_path)


BAD_LISTS = {
    "no column dec_deg": lambda t: t.drop_columns(["dec_deg"]),
    "2 duplicate ids, first target_id 1001, 3 times": lambda t: t.set_column(
        0, "target_id", pa.array([1001, 1000, 1001, 1000, 1001, *range(2005, 2060)])
    ),
    "target_id has type string": lambda t: t.set_column(0, "target_id", t["target_id"].cast(pa.string())),
    "in hours": lambda t: t.set_column(1, "ra_deg", pa.array(t["ra_deg"].to_numpy() / 15)),
    "not sexagesimal": lambda t: t.set_column(1, "ra_deg", pa.array(["02:19:00"] * 60)),
    "allowed: lrg, lrg_companion": lambda t: t.set_column(4, "kind", pa.array(["LRG"] * 60)),
    "psfdepth_r_mag has median 900": lambda t: t.set_column(10, "psfdepth_r_mag", pa.array([900.0] * 60)),
    "no rows": lambda t: t.slice(0, 0),
    "more than one column is ra_deg": lambda t: t.append_column("RA", t["ra_deg"]),
}


@pytest.mark.parametrize("message", BAD_LISTS)
def test_a_bad_list_is_one_line(coadd, tmp_path, message):
    task = make_task(tmp_path, coadd, table=BAD_LISTS[message](target_table()))
    with pytest.raises(ValueError, match="targets.parquet") as caught:
        run(task, tmp_path)
    assert message in str(caught.value) and len(str(caught.value).splitlines()) == 1


def test_hours_are_seen_without_bricknames_from_the_bricks_that_exist(coadd, tmp_path):
    table = target_table().drop_columns(["brickname"])
    hours = table.set_column(1, "ra_deg", pa.array(table["ra_deg"].to_numpy() / 15))
    with pytest.raises(ValueError, match="in hours"):
        run(make_task(tmp_path, coadd, table=hours), tmp_path)


def test_a_wrong_root_is_one_line(coadd, tmp_path):
    with pytest.raises(ValueError, match=r"none of 20 bricks looked for exists, for example .*image-r\.fits\.fz"):
        run(make_task(tmp_path, coadd / "034"), tmp_path)


def test_a_plain_csv_of_ids_and_positions_is_enough(coadd, tmp_path):
    table = target_table().select(["target_id", "ra_deg", "dec_deg"]).to_pandas()
    path = tmp_path / "list.csv"
    table.rename(columns={"target_id": "ID", "ra_deg": "RA", "dec_deg": "Dec"}).to_csv(path, index=False)
    task = make_task(tmp_path, coadd, kind="spiral").model_copy(update={"targets": path})
    run(task, tmp_path)
    index = pq.read_table(task.output / "index.parquet").to_pandas()
    assert index.cutout_ok.sum() > 40
    assert set(index.kind) == {"spiral"} and set(index.split) <= {"train", "val", "test"}
    assert set(index.brickname) == set(CENTRES)
