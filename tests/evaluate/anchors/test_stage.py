"""The stage `anchors` with a planted finder: what counts, what is labelled, what is not measured."""

import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from dhs.config.anchors import AnchorsConfig, CsvAnchors, DegradedAnchors, SimulatedAnchors, SlacsBellsAnchors
from dhs.config.cli import compose_job
from dhs.config.root import EvaluateRoot, TrainConfig
from dhs.constants import PIXEL_SCALE_ARCSEC
from dhs.evaluate.anchors.sample import LABELS
from dhs.evaluate.anchors.simulate import published, simulated_items
from dhs.evaluate.anchors.stage import run
from dhs.evaluate.context import EvaluationContext
from dhs.evaluate.section import Section
from dhs.inject.build import build_injector
from dhs.inject.injector import Injector
from dhs.inject.stamp_batch import StampBatch
from dhs.sky.anchors import slacs_bells
from tests.evaluate.anchors.test_sample import first
from tests.sky.test_anchors import galaxy


class CornerFinder:
    """Its logit is the r flux of one corner pixel: what the test writes there. Elsewhere the sky's noise decides."""

    config = None

    def maker(self, cutouts):  # type: ignore[no-untyped-def]
        return _corner

    def logits(self, batch: np.ndarray) -> np.ndarray:
        return np.asarray(batch)


def _corner(stamps: StampBatch) -> np.ndarray:
    return stamps.images[:, 1, 0, 0].double().numpy() * 100


@pytest.fixture(scope="module")
def config(small_config: Callable[..., TrainConfig]) -> TrainConfig:
    return small_config("evaluate.fprs=[0.1,0.00001]", "evaluate.bin_fpr=0.1")


@pytest.fixture(scope="module")
def injector(config: TrainConfig) -> Injector:
    return build_injector(config)


def run_context(
    anchors: AnchorsConfig, config: TrainConfig, injector: Injector | None, output: Path, *, finder: Any = None
) -> EvaluationContext:
    return EvaluationContext(
        config=config,
        settings=config.evaluate,
        output_dir=output,
        num_workers=0,
        console=Console(file=io.StringIO()),
        finder_identity="planted",
        open_finder=None if injector is None else lambda: finder or CornerFinder(),
        open_supply=None if injector is None else lambda: injector,
        anchors=anchors,
    )


def run_with(anchors: AnchorsConfig, *, config: TrainConfig, injector: Injector | None, output: Path) -> Section:
    return run(run_context(anchors, config, injector, output))


def cutout_file(path: Path, scores: list[float], *, moved: int | None = None, origin: str | None = None) -> Path:
    """NPZ of the first lenses of slacs_bells, each with a galaxy and a planted score; ``moved`` is 20 arcsec off."""
    anchors = first(len(scores))
    images = []
    for score in scores:
        image = galaxy(17.5) if np.isfinite(score) else galaxy(40.0)
        image[1, 0, 0] = np.nan_to_num(score, nan=5.0) / 100
        images.append(image)
    dec = anchors.dec_deg + np.where(np.arange(len(scores)) == moved, 20 / 3600, 0.0)
    extra = {} if origin is None else {"origin": origin}
    np.savez(
        path,
        images=np.array(images, np.float32),
        invvar=np.full((len(scores), 3, 64, 64), 0.003**-2, np.float32),
        bands=np.array(["g", "r", "z"]),
        pixscale_arcsec=PIXEL_SCALE_ARCSEC,
        unit="nanomaggy",
        ra_deg=anchors.ra_deg,
        dec_deg=dec,
        id=anchors.name,
        **extra,
    )
    return path


def slacs(*paths: Path) -> SlacsBellsAnchors:
    return SlacsBellsAnchors.model_validate({"name": "slacs_bells", "cutouts": paths})


def test_recall_is_of_the_audited_lenses_alone(config, injector, tmp_path):
    """Six found, one missed; one cutout without a galaxy and one 20 arcsec off would be hits, and do not count."""
    scores = [9.0, 9.0, 9.0, 9.0, -9.0, 9.0, np.nan, 9.0, 9.0]
    section = run_with(
        slacs(cutout_file(tmp_path / "a.npz", scores, moved=7)), config=config, injector=injector, output=tmp_path
    )
    assert section.data["n_counting"] == 7 and section.data["n_listed"] == 125
    every = section.data["recall"]["fpr_0.1"]["all"]
    assert (every["k"], every["n"]) == (6, 7)
    left_out = {row["name"]: row["why"] for row in section.data["left_out"]}
    assert "no object" in left_out[first().name[6]]
    assert "no cutout" in left_out[first().name[7]]  # nothing lies at the lens itself
    row = next(row for row in section.rows if row.quantity == "real_lens_recall_fpr_0.1" and row.subset == "all")
    assert (row.n, row.value) == (7, pytest.approx(6 / 7))
    assert all(v.claim.startswith("recall of real lenses") for v in section.verdicts)
    assert section.verdicts[0].passed is None  # 6 of 7: [42%, 100%]
    assert any("No recall at FPR 1e-05" in text for text in section.warnings)
    assert section.figures["recall"]._suptitle.get_text() == "Real lenses in survey cutouts"


def test_enough_lenses_prove_the_target_or_miss_it(config, injector, tmp_path):
    found = run_with(
        slacs(cutout_file(tmp_path / "f.npz", [9.0] * 9)), config=config, injector=injector, output=tmp_path / "f"
    )
    lost = run_with(
        slacs(cutout_file(tmp_path / "l.npz", [-9.0] * 9)), config=config, injector=injector, output=tmp_path / "l"
    )
    # at p > 0.5 none is found: calibrated, the score of a finder that sees a corner is no reason to call it a lens
    assert [verdict.passed for verdict in found.verdicts] == [True, False]
    assert [verdict.passed for verdict in lost.verdicts] == [False, False]
    assert "with at least 8 of 9 found" in found.verdicts[0].provable


def test_without_cutouts_it_says_not_measured(config, injector, tmp_path):
    section = run_with(slacs(), config=config, injector=injector, output=tmp_path)
    assert "Not measured" in section.html and "no cutout" in section.html
    (verdict,) = section.verdicts
    assert verdict.passed is None and "not measured" in verdict.estimate and verdict.target == "> 50%"
    assert not section.figures and not section.rows


def test_degraded_images_are_labelled_everywhere_and_never_in_the_real_verdict(config, injector, tmp_path):
    path = cutout_file(tmp_path / "d.npz", [9.0] * 9, origin="simulated telescope")
    chosen = DegradedAnchors.model_validate({"name": "degraded", "cutouts": (path,)})
    section = run_with(chosen, config=config, injector=injector, output=tmp_path / "d")
    _require_labelled(section, label=LABELS["degraded"])
    as_real = run_with(slacs(path), config=config, injector=injector, output=tmp_path / "r")
    assert as_real.data["n_counting"] == 0 and "not measured" in as_real.verdicts[0].estimate


def test_simulated_lenses_are_labelled_everywhere_and_count_lenses_not_stamps(config, injector, tmp_path):
    path = tmp_path / "list.csv"
    path.write_text(
        "name,ra_deg,dec_deg,survey,z_lens,z_source,sigma_v_km_s,theta_e_arcsec,r_mag\n"
        "a,10,0,S,0.2,0.8,240,1.4,17.2\nb,11,0,S,0.3,0.9,230,,\nc,12,0,T,0.5,1.2,,1.1,\nd,13,0,T,0.4,,,,\n"
    )
    chosen = SimulatedAnchors(name="simulated", path=path, realisations=3, seed=4)
    section = run_with(chosen, config=config, injector=injector, output=tmp_path)
    _require_labelled(section, label=LABELS["simulated"])
    every = section.data["recall"]["p_half"]["all"]
    assert every["n"] == 3 and "9 stamps of 3 lenses" in every["note"]
    assert [row["name"] for row in section.data["left_out"]] == ["d"]
    assert "neither theta_E nor sigma_v" in section.data["left_out"][0]["why"]


def _require_labelled(section: Section, *, label: str) -> None:
    assert label in section.title and section.html.count(label) >= 4  # banner, tables, pictures
    assert "This is no recall of real lenses" in section.html
    assert all(label in figure._suptitle.get_text() for figure in section.figures.values())  # type: ignore[union-attr]
    assert all(label in caption for caption in section.captions.values())
    real, stand_in = section.verdicts
    assert real.passed is None and "not measured" in real.estimate
    assert label in stand_in.claim and stand_in.passed is None and not stand_in.target
    assert all(not row.quantity.startswith("real") for row in section.rows)


def test_the_report_is_made_again_without_network_and_cutouts(config, injector, tmp_path):
    path = cutout_file(tmp_path / "a.npz", [9.0, 9.0, -9.0])
    before = run_with(slacs(path), config=config, injector=injector, output=tmp_path / "out")
    path.unlink()
    again = run_with(slacs(), config=config, injector=None, output=tmp_path / "out")
    assert again.html == before.html and again.rows == before.rows
    shutil.rmtree(tmp_path / "out")


def test_simulated_hosts_have_the_lens_s_size_redshift_and_the_sky_s_conditions(config, injector):
    lenses = published(slacs_bells())
    assert int((lenses.reason == "").sum()) == 123
    few = published(first(3))
    items = simulated_items(
        few,
        chosen=SimulatedAnchors(name="simulated", realisations=2),
        config=config,
        source=injector.source,
        sky=injector.cutouts,
        stamp_size_px=64,
    )
    assert len(items) == 6
    index = np.arange(6)
    stamps = items.stamps(index)
    np.testing.assert_allclose(stamps.recipes.theta_e_arcsec, np.repeat(few.theta_e_arcsec, 2))
    np.testing.assert_allclose(items.cutouts.redshift, np.repeat(few.anchors.z_lens, 2), rtol=1e-6)
    flux = stamps.images[:, 1].sum(dim=(-2, -1)).numpy()
    np.testing.assert_allclose(22.5 - 2.5 * np.log10(flux), np.repeat(few.mags[:, 1], 2), atol=0.5)
    conditions = {tuple(row) for row in np.asarray(injector.cutouts.psf_fwhm_arcsec).round(5).tolist()}
    assert all(tuple(row) in conditions for row in items.cutouts.psf_fwhm_arcsec.round(5).tolist())
    assert len({tuple(row) for row in items.cutouts.psf_fwhm_arcsec.tolist()}) > 3
    one = items.stamps(index[4:5])  # alone as in the batch
    np.testing.assert_array_equal(one.images[0], stamps.images[4])


def test_the_list_s_own_magnitude_is_taken_and_its_other_gaps_are_said(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text("name,ra_deg,dec_deg,z_lens,z_source,sigma_v_km_s,r_mag\na,10,0,0.2,0.8,240,16.5\n")
    from dhs.evaluate.anchors.sample import read_list

    lenses = published(read_list(path))
    assert lenses.mags[0, 1] == pytest.approx(16.5)
    assert lenses.assumed[0] == "colours, theta_E (isothermal, from sigma_v)"


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["task=audit", "anchors=simulated"], "nothing to audit"),
        (["task=audit", "anchors=csv", "anchors.path=nowhere.csv"], "no such file"),
        (["task=audit", "anchors=degraded", "anchors.cutouts=[nowhere.npz]"], "no such file or store"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_loaded(overrides, words):
    with pytest.raises(ValueError, match=words):
        compose_job("evaluate", overrides, schema=EvaluateRoot)


def test_a_csv_list_is_measured_like_the_package_s_own(config, injector, tmp_path):
    anchors = first(3)
    lines = [
        f"{n},{r},{d},{s}"
        for n, r, d, s in zip(anchors.name, anchors.ra_deg, anchors.dec_deg, anchors.sdss_name, strict=True)
    ]
    (tmp_path / "mine.csv").write_text("\n".join(["name,ra_deg,dec_deg,sdss_name", *lines]))
    cutouts = cutout_file(tmp_path / "c.npz", [9.0, 9.0, 9.0])
    chosen = CsvAnchors(name="csv", path=tmp_path / "mine.csv", cutouts=(cutouts,), grades=None, known_lenses=None)
    section = run_with(chosen, config=config, injector=injector, output=tmp_path)
    assert section.data["recall"]["fpr_0.1"]["all"]["k"] == 3
