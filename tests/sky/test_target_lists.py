"""Lists that targets are compared with: known lenses, votes of volunteers, catalogue rules."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.table import Table

from dhs.config.targets import CatalogueRule, Exclusion, MorphologyCatalogue, VoteRule
from dhs.sky.exclusion import known_lenses, near_known_lens
from dhs.sky.morphology import Votes
from dhs.sky.negatives import Appearance, first_rule, sersic_index
from dhs.sky.sky_match import SkyIndex, read_positions_csv

REPO = Path(__file__).resolve().parents[2]


def test_distances_are_those_of_astropy_also_at_the_pole_and_across_ra_zero() -> None:
    rng = np.random.default_rng(0)
    dec = np.concatenate([rng.uniform(-90, 90, 300), [89.9999, -30.0, 0.0]])
    ra = np.concatenate([rng.uniform(0, 360, 300), [10.0, 359.9999, 0.0]])
    there_ra = (ra + rng.normal(0, 8, 303) / 3600 / np.maximum(np.cos(np.radians(dec)), 1e-4)) % 360
    there_dec = np.clip(dec + rng.normal(0, 8, 303) / 3600, -90, 90)
    row, distance = SkyIndex(there_ra, there_dec).nearest(ra, dec, within_arcsec=11.0)
    here, there = SkyCoord(ra * units.deg, dec * units.deg), SkyCoord(there_ra * units.deg, there_dec * units.deg)
    index, separation, _ = here.match_to_catalog_sky(there)
    within = separation.arcsec < 11.0
    assert 0.4 < within.mean() < 0.9
    assert np.array_equal(row >= 0, within)
    assert np.array_equal(row[within], index[within])
    assert distance[within] == pytest.approx(separation.arcsec[within], abs=1e-5)
    assert np.isinf(distance[~within]).all()


def test_nothing_matches_an_empty_list() -> None:
    row, distance = SkyIndex(np.empty(0), np.empty(0)).nearest(np.ones(3), np.ones(3), within_arcsec=11.0)
    assert row.tolist() == [-1, -1, -1]
    assert np.isinf(distance).all()


def test_lenscat_is_excluded_without_network_or_import() -> None:
    code = (
        "import socket, sys\n"
        "def refuse(*_): raise AssertionError('network')\n"
        "socket.socket.connect = refuse\n"
        "from dhs.config.targets import Exclusion\n"
        "from dhs.sky.exclusion import known_lenses\n"
        "assert len(known_lenses(Exclusion())) > 30000 and 'lenscat' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, cwd=REPO)


def test_verified_slacs_lenses_are_excluded_and_their_neighbours_are_not(shared_data: Path) -> None:
    """All 125 verified lenses lie within 11 arcsec of a lenscat entry; 5 arcmin beside them next to nothing does."""
    with (shared_data / "anchors" / "slacs_s4tm_bells.csv").open() as file:
        rows = list(csv.DictReader(file))
    ra, dec = (np.array([float(row[name]) for row in rows]) for name in ("ra_deg", "dec_deg"))
    lenses = known_lenses(Exclusion())
    assert near_known_lens(ra, dec, lenses=lenses, radius_arcsec=11.0).all()
    assert near_known_lens(ra, dec + 5 / 60, lenses=lenses, radius_arcsec=11.0).mean() < 0.05


def test_a_users_own_list_excludes_too(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("name,RA,DEC\na,10.0,-5.0\nb,20.0,5.0\n")
    lenses = known_lenses(Exclusion(lenscat=False, csv=(path,)))
    dec = np.array([-5.0 + 10.9 / 3600, -5.0 + 11.1 / 3600])
    assert near_known_lens(np.full(2, 10.0), dec, lenses=lenses, radius_arcsec=11.0).tolist() == [True, False]
    assert len(known_lenses(Exclusion(lenscat=False))) == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,x,y\na,1,2\n", r"mine\.csv: no column ra_deg or ra .* it has name, x, y"),
        ("ra,dec\n10,95\n", r"mine\.csv: position of row 0 = \(10\.0, 95\.0\)"),
        ("ra,dec\n10:20:30,5\n", r"mine\.csv: could not convert .* columns ra and dec must be degrees"),
        ("ra,dec\n", r"mine\.csv: has no rows"),
        ("ra,dec\n" + "\n".join(f"{i},{4 * i - 45}" for i in range(24)), r"RA goes up to 23\.000 only .* RA in hours"),
    ],
)
def test_a_wrong_list_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        read_positions_csv(path)
    assert len(str(caught.value).splitlines()) == 1


def write_votes(path: Path) -> Path:
    """Six galaxies: merger, disturbed, edge-on, spiral, smooth, and one that is both merger and spiral."""
    columns = {
        "ra": 10.0 + np.arange(6),
        "dec": np.full(6, -20.0),
        "merging_merger_fraction": [0.9, 0.1, 0.0, 0.0, 0.0, 0.6],
        "merging_major-disturbance_fraction": [0.0, 0.8, 0.0, 0.0, 0.0, 0.0],
        "smooth-or-featured_featured-or-disk_fraction": [0.2, 0.2, 0.9, 0.9, 0.1, 0.9],
        "disk-edge-on_yes_fraction": [0.0, 0.0, 0.95, 0.0, np.nan, 0.0],
        "disk-edge-on_no_fraction": [1.0, 1.0, 0.05, 1.0, np.nan, 1.0],
        "has-spiral-arms_yes_fraction": [0.0, 0.0, 0.0, 0.9, np.nan, 0.9],
    }
    table = Table(columns)
    if path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table({name: np.asarray(table[name]) for name in table.colnames}), path)
    else:
        table.write(path)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".fits"])
def test_volunteers_votes_give_classes_within_one_arcsec(tmp_path: Path, suffix: str) -> None:
    votes = Votes(MorphologyCatalogue(path=write_votes(tmp_path / f"gz{suffix}")))
    names = [rule.name for rule in votes.catalogue.rules]
    taken = votes.rule_of(10.0 + np.arange(6), np.full(6, -20.0 + 0.9 / 3600))
    assert [names[i] if i >= 0 else None for i in taken] == [
        "gz_merger",
        "gz_disturbed",
        "gz_edge_on",
        "gz_spiral",
        None,
        "gz_merger",
    ]
    assert (votes.rule_of(10.0 + np.arange(6), np.full(6, -20.0 + 1.1 / 3600)) == -1).all()
    assert (votes.n_rows, len(votes)) == (6, 5)


def test_rules_of_ones_own_take_rings(tmp_path: Path) -> None:
    path = tmp_path / "gz2.csv"
    path.write_text("RAJ,DEJ,ring\n5.0,1.0,0.9\n6.0,1.0,0.2\n")
    rule = VoteRule(name="gz2_ring", kind="ring", minimum={"ring": 0.5})
    votes = Votes(MorphologyCatalogue(path=path, ra_column="RAJ", dec_column="DEJ", rules=(rule,)))
    assert votes.rule_of(np.array([5.0, 6.0]), np.ones(2)).tolist() == [0, -1]


def test_a_catalogue_of_votes_that_is_wrong_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "gz.csv"
    path.write_text("ra,dec,spiral_fraction\n5.0,1.0,17\n")
    rule = VoteRule(name="s", kind="spiral", minimum={"spiral_fraction": 0.5})
    with pytest.raises(ValueError, match=r"gz\.csv: column spiral_fraction goes up to 17: not fractions"):
        Votes(MorphologyCatalogue(path=path, rules=(rule,)))
    with pytest.raises(ValueError, match=r"gz\.csv: no column disk-edge-on_no_fraction, .*task\.negatives\.morphology"):
        Votes(MorphologyCatalogue(path=path))
    with pytest.raises(FileNotFoundError, match="nowhere"):
        Votes(MorphologyCatalogue(path=tmp_path / "nowhere.csv"))
    other = tmp_path / "gz.txt"
    other.touch()
    with pytest.raises(ValueError, match=r"suffix '\.txt'; allowed: \.csv, \.parquet"):
        Votes(MorphologyCatalogue(path=other))


def galaxies() -> Appearance:
    """A round red DEV, an edge-on disc, a blue disc, a large blue disc, a hollow SER, and one without g flux."""
    return Appearance(
        type=np.array(["DEV", "EXP", "EXP", "EXP", "SER", "EXP"]),
        g_mag=np.array([20.5, 19.5, 18.4, 17.0, 19.6, np.nan]),
        r_mag=np.array([19.0, 18.8, 18.0, 16.6, 18.8, 18.0]),
        shape_r_arcsec=np.array([1.5, 2.5, 2.0, 5.0, 2.5, 2.0]),
        axis_ratio=np.array([0.9, 0.2, 0.7, 0.8, 0.8, 0.9]),
        sersic=np.array([4.0, 1.0, 1.0, 1.0, 0.6, 1.0]),
    )


def test_the_default_rules_take_the_galaxies_they_are_named_after() -> None:
    from dhs.config.cli import compose_job
    from dhs.config.root import InjectRoot

    task = compose_job("inject", ["task=targets", "sky.sweep_dir=x"], schema=InjectRoot).task
    rules = task.negatives.rules  # type: ignore[union-attr]
    chosen = first_rule(galaxies(), rules=rules)
    names = [rules[i].name if i >= 0 else None for i in chosen]
    assert names == [None, "edge_on", "blue_clumpy", "large", "ring_like", None]


@pytest.mark.parametrize(
    ("threshold", "taken"),
    [
        ({"types": ("SER",), "r_mag_max": 30.0}, [4]),
        ({"r_mag_max": 17.0}, [3]),
        ({"g_r_max": 0.5}, [2, 3]),
        ({"shape_r_min_arcsec": 2.5}, [1, 3, 4]),
        ({"axis_ratio_max": 0.3}, [1]),
        ({"axis_ratio_min": 0.85}, [0, 5]),
        ({"sersic_max": 0.8}, [4]),
    ],
)
def test_each_threshold_of_a_rule_works_alone(threshold: dict[str, object], taken: list[int]) -> None:
    rule = CatalogueRule.model_validate({"name": "x", "kind": "ring", **threshold})
    assert np.flatnonzero(first_rule(galaxies(), rules=[rule]) == 0).tolist() == taken


def test_types_with_a_fixed_profile_have_its_sersic_index() -> None:
    index = sersic_index(np.array(["DEV", "EXP", "REX", "SER"]), np.array([0.0, 0.0, 0.0, 2.3]))
    assert index == pytest.approx([4.0, 1.0, 1.0, 2.3])
