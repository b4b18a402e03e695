"""Sets as they lie on disk: forms, ledgers, damage, samples of pixels, several processes, remote folders."""

from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dhs.config.cli import compose_job
from dhs.config.root import InjectRoot
from dhs.inject.stampset.compact_job import compact
from dhs.inject.stampset.tar_layout import StampLayout
from dhs.inject.validate.files import find_files
from dhs.inject.validate.gather import chosen_groups, gather
from dhs.inject.validate.read import views_of
from tests.inject.validate.sets import SEEDS_NAMES, StampRows, blob, write_gen5, write_stamps


@pytest.fixture(scope="module")
def few(rows) -> StampRows:
    return rows.take(np.arange(240))


@pytest.fixture
def small_set(few, tmp_path) -> Path:
    return write_stamps(few, tmp_path / "set", rows_per_part=60)


def test_a_finished_set_agrees_with_its_ledger(small_set, ask):
    gate = ask(small_set)["complete"]
    assert gate.outcome == "pass" and gate.numbers["n_checksums_compared"] == gate.numbers["n_parts"] > 4


def test_an_unfinished_set_is_named(small_set, ask):
    (small_set / "_SUCCESS.json").unlink()
    gate = ask(small_set)["complete"]
    assert gate.outcome == "FAIL" and "has not finished" in gate.measured


def test_a_lost_part_and_one_that_no_ledger_knows_are_named(small_set, ask):
    parts = sorted(small_set.rglob("part-*.parquet"))
    parts[0].unlink()
    parts[1].rename(parts[1].with_name("part-00077.parquet"))
    faults = ask(small_set)["complete"].numbers["faults"]
    assert any("part-00000.parquet is in the ledger and not there" in fault for fault in faults)
    assert any("part-00077.parquet is not in the ledger" in fault for fault in faults)


def test_a_flipped_byte_is_found_by_the_checksum_and_the_rest_is_measured(small_set, ask):
    path = sorted(small_set.rglob("part-*.parquet"))[0]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(bytes(data))
    answers = ask(small_set)
    assert "another SHA-256" in answers["complete"].measured
    assert ask(small_set, "task.checksums=none")["complete"].outcome == "pass"


def test_a_part_cut_short_is_counted_with_all_its_rows(small_set, ask):
    path = sorted(small_set.rglob("part-*.parquet"))[0]
    path.write_bytes(path.read_bytes()[:-2000])
    answers = ask(small_set)
    assert "cannot be read" in answers["complete"].measured
    assert answers["complete"].outcome == "FAIL"


def test_bad_blobs_are_counted_and_named_with_file_and_row(few, ask, tmp_path):
    def pickled(file, **arrays):
        np.savez(file, **{name: np.array([{"x": plane}], dtype=object) for name, plane in arrays.items()})

    image = few.images[0]
    good = blob(image)
    blobs = {
        3: blob(image, save=pickled),
        8: good[:-300],
        9: b"\x80\x04\x95 no archive",
        20: blob(image[:, :32, :32]),
        21: blob((1e3 * image).astype(np.int32)),
        22: None,
        23: good.replace(b"image_g", b"image_x"),
    }
    gate = ask(write_gen5(few, tmp_path, blobs=blobs))["readable"]
    assert gate.outcome == "FAIL"
    assert gate.numbers["reasons"] == {
        "pickled objects": 1,
        "not a zip archive, or truncated": 2,
        "not 64 pixels a side as the set's first stamp": 1,
        "wrong dtype": 1,
        "no blob": 1,
        "no image_g, image_r, image_z": 1,
    }
    split = few.columns["split"][3]
    row = int((few.columns["split"][:3] == split).sum())
    named = {(example["path"], example["row"]) for example in gate.numbers["examples"]}
    assert (f"region_split={split}/part-0000.parquet", row) in named


def test_a_row_without_pixels_that_says_it_has_some_is_a_fault(few, ask, tmp_path):
    ok = np.arange(len(few)) != 5
    write_stamps(few.with_columns(cutout_ok=ok), tmp_path)
    part = next(
        path for path in sorted(tmp_path.rglob("*.parquet")) if not all(pq.read_table(path)["cutout_ok"].to_pylist())
    )
    table = pq.read_table(part)
    place = table.column_names.index("cutout_ok")
    pq.write_table(table.set_column(place, "cutout_ok", [[True] * len(table)]), part, row_group_size=100)
    assert ask(tmp_path)["readable"].numbers["reasons"] == {"no pixels though cutout_ok is true": 1}


def test_the_seeds_own_columns_are_enough_for_what_they_can_show(rows, ask, tmp_path):
    """cosmos_hlr_arcsec held the lensed radius: of one source in two stamps it is not one number."""
    varied = rows.with_columns(source_own_index=rows.columns["source_own_index"] // 4)
    answers = ask(write_gen5(varied, tmp_path, names=SEEDS_NAMES))
    gate = answers["hlr_is_the_sources"]
    assert (
        gate.outcome == "FAIL" and "cosmos_hlr_arcsec" in gate.measured and "lensed_hlr_arcsec" in gate.question.remedy
    )
    assert (
        answers["galaxies_apart"].outcome == "not checked"
        and "no column target_id" in answers["galaxies_apart"].measured
    )
    assert answers["sky_apart"].outcome == "not checked"
    assert {key for key, gate in answers.items() if gate.outcome == "FAIL"} == {"hlr_is_the_sources"}


@pytest.mark.parametrize("has_snr", [True, False])
def test_1111_times_too_faint_is_found_with_gen5_columns(rows, ask, tmp_path, has_snr):
    """By the column where there is one, and by the pixels alone where there is none."""
    names = {ours: theirs for ours, theirs in SEEDS_NAMES.items() if has_snr or ours != "arc_snr"}
    faint = rows.with_images(rows.galaxies + (rows.images - rows.galaxies) / 1111)
    faint = faint.with_columns(arc_snr=rows.columns["arc_snr"] / 1111)
    answers = ask(write_gen5(faint, tmp_path, names=names))
    failed = {key for key, gate in answers.items() if gate.outcome == "FAIL"}
    assert "arcs_seen" in failed
    assert ("arc_snr" in failed) == has_snr


def test_arcs_that_the_columns_call_bright_and_the_pixels_lack_are_found(rows, ask, tmp_path):
    faint = rows.with_images(rows.galaxies + (rows.images - rows.galaxies) / 1111)
    answers = ask(write_gen5(faint, tmp_path))
    failed = {key for key, gate in answers.items() if gate.outcome == "FAIL"}
    assert failed >= {"arcs_seen"} and "arc_snr" not in failed


def test_shards_are_read_as_parts_are(small_set, few, ask, tmp_path):
    given = ["task=compact", f"task.input={small_set}", f"task.output={tmp_path / 'shards'}", "task.format=webdataset"]
    task = compose_job("inject", [*given, "task.num_processes=1"], schema=InjectRoot).task
    compact(task, seed=1, cache_dir=tmp_path, progress=lambda what, done, total: None)
    parts, shards = ask(small_set), ask(tmp_path / "shards")
    for key in ("unit", "band_order", "arcs_seen", "arc_snr", "pixels_once"):
        assert parts[key].measured == shards[key].measured, key
    assert shards["complete"].outcome == "pass"
    tar = next((tmp_path / "shards").rglob("*.tar"))
    data = bytearray(tar.read_bytes())
    data[30_000] ^= 1
    tar.write_bytes(bytes(data))
    damaged = ask(tmp_path / "shards")["readable"]
    assert damaged.numbers["reasons"] == {"another CRC-32 than when it was written": 1}
    assert views_of(bytes(data), StampLayout(64))["image"].shape[1:] == (3, 64, 64)


def test_a_sample_of_pixels_is_named_and_every_identity_still_compared(small_set, validate_task, ask):
    files = find_files(str(small_set))
    chosen = chosen_groups(files, pixel_rows=100, seed=1)
    n = sum(files.parts[number].group_rows[group] for number, group in chosen)
    assert 100 <= n < 240 and {files.parts[number].split for number, _ in chosen} == {"train", "val", "test"}
    answers = ask(small_set, "task.pixel_rows=100")
    assert f"{n:,} stamps looked at ({n / 240:.1%} of the set)" in answers["pixels_apart"].measured
    assert "of 240 rows" in answers["task_ids"].measured
    assert len({frozenset(chosen_groups(files, pixel_rows=60, seed=seed)) for seed in range(8)}) > 1


def test_thinning_keeps_whole_galaxies_and_all_identities(small_set, validate_task):
    task = validate_task(small_set).model_copy(update={"max_rows_kept": 120})
    evidence = gather(find_files(str(small_set)), task=task)
    assert len(evidence.keys["row"]) == 240 and 70 < len(evidence.rows["row"]) < 170
    kept = np.isin(evidence.keys["galaxy"], evidence.rows["galaxy"])
    assert kept.sum() == len(evidence.rows["row"])


def test_two_processes_and_a_remote_folder_give_the_same_answers(small_set, ask):
    here = ask(small_set)
    remote = fsspec.filesystem("memory")
    remote.put(str(small_set), "/validated", recursive=True)
    two = ask(small_set, "task.num_processes=2")
    there = ask("memory://validated")
    for key, gate in here.items():
        assert (gate.outcome, gate.measured) == (two[key].outcome, two[key].measured), key
        assert (gate.outcome, gate.measured) == (there[key].outcome, there[key].measured), key


def test_what_is_no_set_is_one_line(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing is there"):
        find_files(str(tmp_path / "absent"))
    with pytest.raises(ValueError, match="holds no Parquet file"):
        find_files(str(tmp_path))
    pq.write_table(pa.table({"x": [1]}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match="no column `image`"):
        find_files(str(tmp_path))
