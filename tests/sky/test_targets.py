"""`task=targets` as a user types it: every row accounted for, killed and continued, wrong input named."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Table

from benchmarks.synthetic_sweep import FIELDS, sweep_rows, write_sweep
from dhs.commands.targets import targets
from dhs.config.cli import compose_job
from dhs.config.root import InjectRoot
from dhs.constants import BAD_MASKBITS, CLASSES
from dhs.inject.injector import Injector
from dhs.rng import Purpose
from dhs.sky.cutouts import CutoutSet
from dhs.sky.known_lenses import lenscat
from dhs.sky.target_table import SCHEMA, gets_arc, read_targets

REPO = Path(__file__).resolve().parents[2]
NAMES = ("sweep-150m010-160m005", "sweep-200p000-210p005", "sweep-350m005-360p000")
ANY_NOBS = "task.quality.min_nobs=[1,1,1]"
CORNERS = ((150.0, -10.0), (200.0, 0.5), (359.6, -1.0))


@pytest.fixture(scope="module")
def sweeps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20,000 rows in three files: one gzipped, one across RA 0; beside them a file that is no sweep."""
    folder = tmp_path_factory.mktemp("dr10")
    for name, (ra, dec), n in zip(NAMES, CORNERS, (10_000, 6_000, 4_000), strict=True):
        suffix = ".fits.gz" if ra == 200.0 else ".fits"
        write_sweep(folder / f"{name}{suffix}", sweep_rows(n, seed=3, ra_deg=ra, dec_deg=dec))
    (folder / "sweep-150m010-160m005-pz.fits").write_bytes(b"not read")
    (folder / "legacysurvey_dr10_sweep.sha256sum").touch()
    return folder


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Says nothing."""


def run(sweep_dir: Path | str, output: Path, *overrides: str) -> dict[str, Any]:
    """The manifest of a run in this process."""
    arguments = ["task=targets", f"sky.sweep_dir={sweep_dir}", f"task.output_dir={output}", *overrides]
    assert targets(compose_job("inject", arguments, schema=InjectRoot)) == 0
    return json.loads((output / "manifest.json").read_text())


@pytest.fixture(scope="module")
def done(sweeps: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("targets")
    run(sweeps, output)
    return output


def same(a: pa.Table, b: pa.Table) -> bool:
    """Equal schema and values; NaN equals NaN."""
    columns = [(a[name].to_numpy(), b[name].to_numpy()) for name in a.column_names]
    return a.schema.equals(b.schema) and all(np.array_equal(x, y, equal_nan=x.dtype.kind == "f") for x, y in columns)


def dereddened(row: Any, band: str) -> float:
    return 22.5 - 2.5 * np.log10(row[f"FLUX_{band}"] / row[f"MW_TRANSMISSION_{band}"])


def oracle(sweeps: Path) -> dict[int, dict[str, Any]]:
    """The same selection, written row by row from SCIENCE section 4 with astropy: id -> what the target should be."""
    known = lenscat()
    lenses = SkyCoord(known.ra_deg * units.deg, known.dec_deg * units.deg)
    expected: dict[int, dict[str, Any]] = {}
    for path in sorted(p for p in sweeps.iterdir() if "-pz" not in p.name and ".fits" in p.name):
        table = Table.read(path)
        _, separation, _ = SkyCoord(table["RA"], table["DEC"], unit="deg").match_to_catalog_sky(lenses)
        for row, to_lens in zip(table, separation.arcsec, strict=True):
            if row["TYPE"] == "PSF" or row["DEC"] > 32.375 or to_lens <= 11.0:
                continue
            if any(row["MASKBITS"] >> bit & 1 for bit in BAD_MASKBITS) or row["FITBITS"] & 0b1000000000101:
                continue
            if min(row["NOBS_G"], row["NOBS_R"], row["NOBS_Z"]) < 2:
                continue
            mag = {band: dereddened(row, band) for band in ("G", "R", "Z", "W1")}
            e = float(np.hypot(row["SHAPE_E1"], row["SHAPE_E2"]))
            ratio = (1 - e) / (1 + e) if row["TYPE"] != "REX" else np.nan
            disc = row["TYPE"] in ("EXP", "SER")
            late = disc and row["SERSIC"] <= 2.5
            size = row["SHAPE_R"]
            if late and ratio <= 0.3 and size >= 1.5 and mag["R"] <= 20:
                kind, subclass = "edge_on", "edge_on"
            elif row["TYPE"] == "SER" and row["SERSIC"] <= 0.8 and ratio >= 0.6 and size >= 2 and mag["R"] <= 20:
                kind, subclass = "ring", "ring_like"
            elif mag["Z"] < 20.4 and mag["R"] - mag["Z"] > 0.4 and mag["Z"] - mag["W1"] > 0.8:
                kind, subclass = "lrg", ""
            elif late and size >= 4 and mag["R"] <= 18:
                kind, subclass = "spiral", "large"
            elif disc and mag["G"] - mag["R"] <= 0.5 and size >= 1.5 and mag["R"] <= 20:
                kind, subclass = "spiral", "blue_clumpy"
            else:
                continue
            key = (int(row["RELEASE"]) << 42) | (int(row["BRICKID"]) << 22) | int(row["OBJID"])
            expected[key] = {"kind": kind, "subclass": subclass, "ra_deg": row["RA"], "type": row["TYPE"]}
    return expected


def test_the_selection_is_that_of_an_independent_loop_over_rows(sweeps: Path, tmp_path: Path) -> None:
    run(sweeps, tmp_path, "task.negatives.match.enabled=false")
    found = {row["target_id"]: row for row in read_targets(tmp_path).to_pylist()}
    expected = oracle(sweeps)
    assert {row["subclass"] for row in expected.values()} == {"", "edge_on", "large", "blue_clumpy", "ring_like"}
    assert set(found) == set(expected)
    for key, wanted in expected.items():
        assert {name: found[key][name] for name in wanted} == wanted


def test_every_row_is_a_target_or_lost_to_one_named_cut(done: Path) -> None:
    manifest = json.loads((done / "manifest.json").read_text())
    table = read_targets(done)
    lost = sum(manifest["lost"].values()) + manifest["duplicates"] + manifest["unmatched_negatives"]
    assert manifest["rows_read"] == 20_000 == lost + manifest["targets"]
    assert manifest["targets"] == len(table) > 500
    for name in ("kind", "role", "split", "type"):
        assert manifest[name] == dict(Counter(table[name].to_pylist()))
    for entry in manifest["files"]:
        assert entry["rows"] == sum(entry["lost"].values()) + entry["targets"]
    assert min(manifest["lost"][name] for name in ("not_a_galaxy", "maskbits", "fitbits", "nobs", "no_class")) > 0


def test_the_table_says_what_its_columns_mean(done: Path, sweeps: Path) -> None:
    table = read_targets(done)
    assert table.schema.equals(SCHEMA, check_metadata=False)
    catalogue = Table.read(sweeps / f"{NAMES[0]}.fits")
    rows = {(int(row["BRICKID"]), int(row["OBJID"])): row for row in catalogue}
    checked = 0
    for target in table.to_pylist():
        row = rows.get((target["brickid"], target["objid"]))
        if row is None:
            continue
        checked += 1
        assert target["flux_r_nmgy"] == row["FLUX_R"]
        assert target["mag_z"] == pytest.approx(22.5 - 2.5 * np.log10(row["FLUX_Z"]), abs=1e-5)
        assert target["psfdepth_g_mag"] == pytest.approx(
            22.5 - 2.5 * np.log10(5 / np.sqrt(row["PSFDEPTH_G"])), abs=1e-5
        )
        assert target["psfsize_r_arcsec"] == row["PSFSIZE_R"]
        assert (target["nobs_z"], target["brickname"]) == (row["NOBS_Z"], row["BRICKNAME"])
        assert np.isnan(target["axis_ratio"]) == (row["TYPE"] == "REX")
    assert checked > 200
    assert np.isnan(table["z_phot"].to_numpy()).all()


def test_hosts_are_split_in_halves_by_their_ids(done: Path) -> None:
    table = read_targets(done)
    role, kind = np.array(table["role"].to_pylist()), np.array(table["kind"].to_pylist())
    assert np.array_equal(role == "negative", kind != "lrg")
    assert 0.42 < (role == "injection").sum() / (kind == "lrg").sum() < 0.58
    hosts = kind == "lrg"
    assert np.array_equal(gets_arc(table["target_id"].to_numpy()[hosts]), role[hosts] == "injection")


def test_the_injector_puts_arcs_into_the_hosts_that_the_table_calls_injection(mock_set: CutoutSet) -> None:
    config = compose_job("inject", [], schema=InjectRoot)
    unused: Any = None
    injector = Injector(
        mock_set,
        renderer=unused,
        source=SimpleNamespace(choose=None),
        seed=1,
        lens=config.lens,
        colour=config.colour,
        inject=config.inject,
    )
    pool = injector.pool(Purpose.TRAIN)
    assert gets_arc(mock_set.target_id[pool.hosts]).all()
    controls = pool.negatives[mock_set.kind[pool.negatives] == CLASSES.index("lrg")]
    assert len(pool.hosts) > 50 and len(controls) > 50
    assert not gets_arc(mock_set.target_id[controls]).any()


def test_splits_are_those_of_the_sky_and_of_nothing_else(done: Path) -> None:
    from dhs.config.sky import SplitConfig
    from dhs.constants import SPLITS
    from dhs.sky.splits import split_of_position

    table = read_targets(done)
    expected = split_of_position(table["ra_deg"].to_numpy(), table["dec_deg"].to_numpy(), config=SplitConfig())
    assert table["split"].to_pylist() == [SPLITS[code] for code in expected]
    assert set(table["split"].to_pylist()) == set(SPLITS)


@pytest.mark.parametrize("rows_per_block", [1000, 7001])
def test_blocks_of_any_size_give_the_same_targets(
    done: Path, sweeps: Path, tmp_path: Path, rows_per_block: int
) -> None:
    run(sweeps, tmp_path, f"task.rows_per_block={rows_per_block}")
    assert same(read_targets(tmp_path), read_targets(done))


def test_overlapping_files_give_each_galaxy_once_and_count_the_rest(sweeps: Path, tmp_path: Path, done: Path) -> None:
    folder = tmp_path / "overlap"
    folder.mkdir()
    whole = sweep_rows(10_000, seed=3, ra_deg=150.0, dec_deg=-10.0)
    write_sweep(folder / "sweep-a.fits", whole[:6000])
    write_sweep(folder / "sweep-b.fits", whole[4000:])
    manifest = run(folder, tmp_path / "out", "task.negatives.match.enabled=false")
    write_sweep(tmp_path / "sweep-once.fits", whole)
    once = run(tmp_path / "sweep-once.fits", tmp_path / "out1", "task.negatives.match.enabled=false")
    ids = read_targets(tmp_path / "out")["target_id"].to_pylist()
    assert len(ids) == len(set(ids)) == once["targets"]
    assert manifest["duplicates"] == manifest["files"][0]["targets"] + manifest["files"][1]["targets"] - len(ids) > 50


def test_known_lenses_are_left_out_of_hosts_and_negatives_and_counted(sweeps: Path, tmp_path: Path, done: Path) -> None:
    table = read_targets(done)
    lrg = table.filter(pa.compute.equal(table["kind"], "lrg")).slice(3, 1)
    other = table.filter(pa.compute.equal(table["kind"], "spiral")).slice(3, 1)
    mine = tmp_path / "mine.csv"
    positions = [(row["ra_deg"], row["dec_deg"] + 10.0 / 3600) for one in (lrg, other) for row in one.to_pylist()]
    mine.write_text("ra,dec\n" + "\n".join(f"{ra},{dec}" for ra, dec in positions))
    overrides = ["task.negatives.match.enabled=false"]
    before = run(sweeps, tmp_path / "a", *overrides)
    after = run(sweeps, tmp_path / "b", *overrides, f"task.exclusion.csv=[{mine}]")
    gone = after["lost"]["known_lens"] - before["lost"]["known_lens"]
    assert gone == before["targets"] - after["targets"] >= 2
    assert 1 <= after["known_lens_hosts"] - before["known_lens_hosts"] < gone
    ids = set(read_targets(tmp_path / "b")["target_id"].to_pylist())
    assert not ids & {lrg["target_id"][0].as_py(), other["target_id"][0].as_py()}


def test_votes_make_negatives_of_galaxies_that_would_be_hosts(sweeps: Path, tmp_path: Path, done: Path) -> None:
    table = read_targets(done)
    hosts = table.filter(pa.compute.equal(table["kind"], "lrg")).slice(0, 20)
    votes = tmp_path / "votes.parquet"
    columns = {"ra": hosts["ra_deg"], "dec": hosts["dec_deg"], "ring_fraction": pa.array([0.9] * 15 + [0.1] * 5)}
    pq.write_table(pa.table(columns), votes)
    rule = "{name: my_ring, kind: ring, minimum: {ring_fraction: 0.5}}"
    manifest = run(
        sweeps,
        tmp_path / "out",
        "task.negatives.match.enabled=false",
        f"task.negatives.morphology=[{{path: {votes}, rules: [{rule}]}}]",
    )
    assert manifest["subclass"]["my_ring"] == 15
    found = read_targets(tmp_path / "out")
    mine = found.filter(pa.compute.equal(found["subclass"], "my_ring"))
    assert set(mine["target_id"].to_pylist()) == set(hosts["target_id"].to_pylist()[:15])
    assert set(mine["kind"].to_pylist()) == {"ring"} and set(mine["role"].to_pylist()) == {"negative"}


def test_a_finished_part_is_not_made_again_but_other_settings_make_it_anew(
    sweeps: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dhs.sky import target_parts

    made: list[str] = []
    make = target_parts.Parts.make

    def counted(self: Any, source: Any, **settings: Any) -> Any:
        made.append(source.path)
        return make(self, source, **settings)

    monkeypatch.setattr(target_parts.Parts, "make", counted)
    first = run(sweeps, tmp_path)
    assert len(made) == 3
    again = run(sweeps, tmp_path, "task.rows_per_block=5000", "task.negatives.match.coverage=0.5")
    assert len(made) == 3
    assert again["unmatched_negatives"] != first["unmatched_negatives"]
    run(sweeps, tmp_path, "task.lrg.cut=v2")
    assert len(made) == 6
    part = sorted((tmp_path / "parts").glob("*.parquet"))[0]
    part.write_bytes(part.read_bytes()[:-7] + b"damaged")
    run(sweeps, tmp_path, "task.lrg.cut=v2")
    assert len(made) == 7


def command(*arguments: str) -> list[str]:
    return [sys.executable, "inject.py", "task=targets", *arguments]


def test_kill_9_at_any_moment_and_the_same_command_finishes_the_same_table(
    sweeps: Path, tmp_path: Path, done: Path
) -> None:
    """Killed as soon as a part is there (a block is kept small, so there is work left), then run to the end."""
    arguments = [f"sky.sweep_dir={sweeps}", f"task.output_dir={tmp_path}", "task.rows_per_block=1000"]
    process = subprocess.Popen(command(*arguments), cwd=REPO, stdout=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("parts/*.json")) and time.monotonic() < deadline:
        assert process.poll() is None, "finished before it could be killed"
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    n_parts = len(list(tmp_path.glob("parts/*.json")))
    assert 1 <= n_parts < 3 and not (tmp_path / "manifest.json").exists()
    result = subprocess.run(command(*arguments), cwd=REPO, capture_output=True, text=True, check=True)
    assert f"3 catalogue files, {n_parts} done before" in result.stdout
    assert same(read_targets(tmp_path), read_targets(done))
    ours, theirs = (json.loads((folder / "manifest.json").read_text()) for folder in (tmp_path, done))
    assert ours["lost"] == theirs["lost"] and ours["match"] == theirs["match"]


def test_the_command_prints_the_waterfall_and_the_match(sweeps: Path, tmp_path: Path) -> None:
    result = subprocess.run(
        command(f"sky.sweep_dir={sweeps}", f"task.output_dir={tmp_path}"), cwd=REPO, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    for text in ("rows read", "- not_a_galaxy", "- known_lens", "targets", "match of spiral", "psfdepth_r_mag"):
        assert text in result.stdout
    assert result.stderr == ""


def test_a_damaged_file_stops_the_job_or_is_left_out_named_and_counted(sweeps: Path, tmp_path: Path) -> None:
    folder = tmp_path / "dr10"
    folder.mkdir()
    good = folder / "sweep-good.fits"
    good.write_bytes((sweeps / f"{NAMES[0]}.fits").read_bytes())
    bad = folder / "sweep-bad.fits"
    bad.write_bytes((sweeps / f"{NAMES[2]}.fits").read_bytes()[:500_000])
    with pytest.raises(ValueError, match=r"sweep-bad\.fits: ends after row .*task\.on_damaged_file=skip") as caught:
        run(folder, tmp_path / "out")
    assert len(str(caught.value).splitlines()) == 1
    manifest = run(folder, tmp_path / "out", "task.on_damaged_file=skip")
    assert list(manifest["files_damaged"]) == [str(bad)]
    assert (manifest["files_read"], manifest["rows_read"]) == (1, 10_000)
    bad.write_bytes((sweeps / f"{NAMES[2]}.fits").read_bytes())  # fetched again: the rerun takes it in
    assert run(folder, tmp_path / "out", "task.on_damaged_file=skip")["rows_read"] == 14_000


def with_columns(change: Callable[[np.ndarray], np.ndarray | None]) -> np.ndarray:
    rows = sweep_rows(2000, seed=3)
    return rows if (new := change(rows)) is None else new


def depths_as_magnitudes(rows: np.ndarray) -> None:
    for name in ("PSFDEPTH", "GALDEPTH"):
        for band in "GRZ":
            rows[f"{name}_{band}"] = 22.5 - 2.5 * np.log10(5.0 / np.sqrt(rows[f"{name}_{band}"]))


def extinction_in_magnitudes(rows: np.ndarray) -> None:
    for band in ("G", "R", "Z", "W1"):
        rows[f"MW_TRANSMISSION_{band}"] = -2.5 * np.log10(rows[f"MW_TRANSMISSION_{band}"])


def hours(rows: np.ndarray) -> None:
    rows["RA"] /= 15.0


WRONG: dict[str, tuple[Callable[[np.ndarray], np.ndarray | None], str]] = {
    "depths": (depths_as_magnitudes, r"PSFDEPTH from .* are AB magnitudes; allowed: inverse variances"),
    "hours": (hours, r"RA is in hours"),
    "dust": (extinction_in_magnitudes, r"MW_TRANSMISSION_R .* does not follow EBV"),
    "columns": (lambda rows: rows[[n for n in rows.dtype.names if n != "SHAPE_E1"]], r"no column SHAPE_E1; allowed"),
    "stars": (lambda rows: rows[rows["TYPE"] == b"PSF"], r"no target among [\d,]+ rows: [\d,]+ lost to not_a_galaxy"),
    "empty": (lambda rows: rows[:0], r"no target among 0 rows: the files are empty"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_catalogue_of_wrong_units_or_columns_stops_with_one_line(tmp_path: Path, name: str) -> None:
    change, message = WRONG[name]
    write_sweep(tmp_path / "sweep-a.fits", with_columns(change))
    with pytest.raises(ValueError, match=message) as caught:
        run(tmp_path, tmp_path / "out", "task.on_damaged_file=skip")
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "out" / "targets.parquet").exists()


def test_positions_outside_the_footprint_are_counted(tmp_path: Path) -> None:
    """North of 32.375 degrees (another instrument), and bricks that the survey's brick table does not have."""
    rows = sweep_rows(10_000, seed=3)
    write_sweep(tmp_path / "sweep-a.fits", rows)
    names = np.unique(rows["BRICKNAME"])
    columns = [
        fits.Column("brickname", "8A", array=names[:1]),
        fits.Column("psfdepth_r", "E", array=np.array([23.7])),
    ]
    table = tmp_path / "survey-bricks.fits.gz"
    fits.BinTableHDU.from_columns(columns).writeto(table)
    manifest = run(tmp_path, tmp_path / "out", f"sky.survey_bricks={table}", ANY_NOBS)
    outside = (rows["BRICKNAME"] != names[0]) & (rows["TYPE"] != b"PSF")
    assert manifest["lost"]["outside_footprint"] == outside.sum() > 1000
    manifest = run(tmp_path, tmp_path / "out", "task.quality.dec_deg=[-9.9,30]", ANY_NOBS)
    assert manifest["lost"]["outside_footprint"] == ((rows["DEC"] < -9.9) & (rows["TYPE"] != b"PSF")).sum() > 500


def test_tractor_files_count_a_galaxy_only_in_its_own_brick(tmp_path: Path) -> None:
    rows = sweep_rows(3000, seed=3)
    tractor = np.zeros(3000, [(name.lower(), kind) for name, kind in FIELDS] + [("brick_primary", "?")])
    for name in rows.dtype.names or ():
        tractor[name.lower()] = rows[name]
    tractor["brick_primary"] = np.arange(3000) % 3 > 0
    folder = tmp_path / "tractor" / "150"
    folder.mkdir(parents=True)
    write_sweep(folder / "tractor-1501m098.fits", tractor)
    manifest = run(tmp_path / "tractor", tmp_path / "out", ANY_NOBS)
    assert manifest["lost"]["not_primary"] == 1000
    assert manifest["rows_read"] == 3000


def test_photometric_redshifts_come_row_by_row_and_a_strangers_file_is_refused(tmp_path: Path) -> None:
    folder, photoz = tmp_path / "sweep", tmp_path / "pz"
    folder.mkdir()
    photoz.mkdir()
    rows = sweep_rows(4000, seed=3)
    write_sweep(folder / "sweep-a.fits", rows)
    redshift = np.where(np.arange(4000) % 4 == 0, -99.0, np.arange(4000) / 1e4)

    def write(keep: slice) -> None:
        columns = [
            fits.Column("BRICKID", "J", array=rows["BRICKID"][keep]),
            fits.Column("OBJID", "J", array=rows["OBJID"][keep]),
            fits.Column("Z_PHOT_MEDIAN", "E", array=redshift[keep]),
        ]
        fits.BinTableHDU.from_columns(columns).writeto(photoz / "sweep-a-pz.fits", overwrite=True)

    write(slice(None))
    run(folder, tmp_path / "out", f"sky.photoz_dir={photoz}", "task.rows_per_block=1000")
    expected = {(int(b), int(o)): z for b, o, z in zip(rows["BRICKID"], rows["OBJID"], redshift, strict=True)}
    found = read_targets(tmp_path / "out").to_pylist()
    assert len(found) > 100
    for row in found:
        wanted = expected[row["brickid"], row["objid"]]
        assert np.isnan(row["z_phot"]) if wanted < 0 else row["z_phot"] == pytest.approx(wanted, rel=1e-6)
    write(slice(None, None, -1))
    with pytest.raises(ValueError, match=r"sweep-a-pz\.fits: column .* differs from that of"):
        run(folder, tmp_path / "out2", f"sky.photoz_dir={photoz}")
    write(slice(10))
    with pytest.raises(ValueError, match=r"sweep-a-pz\.fits: 10 rows, .* has 4000: not its photo-z file"):
        run(folder, tmp_path / "out3", f"sky.photoz_dir={photoz}")
    (photoz / "sweep-a-pz.fits").unlink()
    with pytest.raises(ValueError, match=r"sweep-a-pz\.fits: no such file: sweep-a\.fits has no photometric"):
        run(folder, tmp_path / "out4", f"sky.photoz_dir={photoz}")


def test_a_plain_http_server_gives_the_same_targets(sweeps: Path, done: Path, tmp_path: Path) -> None:
    """One that cannot serve ranges, as the standard library's: files are read forwards only."""
    handler = partial(QuietHandler, directory=str(sweeps))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        run(f"http://127.0.0.1:{server.server_port}/", tmp_path)
        server.shutdown()
    assert same(read_targets(tmp_path), read_targets(done))


def test_a_folder_without_sweeps_says_what_it_has(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ValueError, match=r"no sweep-\*\.fits\[\.gz\] or tractor-.* among 1 files \(notes\.txt"):
        run(tmp_path, tmp_path / "out")
    with pytest.raises(FileNotFoundError, match=r"sky\.sweep_dir = .*nowhere: no such folder or file"):
        run(tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "sweep.csv").write_text("RA,DEC")
    with pytest.raises(ValueError, match=r"sweep\.csv: not a sweep or Tractor file by its name"):
        run(tmp_path / "sweep.csv", tmp_path / "out")


def test_a_file_that_is_no_target_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"targets\.parquet: no such file; `python inject\.py task=targets"):
        read_targets(tmp_path)
    pq.write_table(pa.table({"ra": [1.0]}), tmp_path / "targets.parquet")
    with pytest.raises(ValueError, match="not a target table of this version"):
        read_targets(tmp_path)
