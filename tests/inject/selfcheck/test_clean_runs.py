"""What is right passes: every PSF, every convention, every experiment file, and the command as a user runs it."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from dhs.commands.selfcheck import selfcheck
from dhs.config.cli import compose_job
from dhs.config.injection import SurveyPsf
from dhs.config.root import InjectRoot
from dhs.inject.renderer import build_renderer
from dhs.inject.selfcheck import lensing
from dhs.inject.selfcheck.rows import failed, unchecked
from dhs.inject.selfcheck.run import CHECKS, run_checks
from dhs.lens.psf import moffat_kernel

EXPERIMENTS = {
    "quickstart": ["source.n_sources=300"],
    "gen2_sersic": ["source.n_sources=300"],
    "gen5_cosmos": [
        "source.bank=${paths.cache_dir}/cosmos_example_bank.h5",
        "source.build_if_missing=true",
        "source.catalog_dir={shared}/cosmos_23.5_example",
        "source.build.n_sources=100",
    ],
    "real_example": ["source.catalog_dir={shared}/cosmos_23.5_example"],
}


def nothing_wrong(physics) -> bool:
    rows = run_checks(physics, log=lambda line: None)
    assert not [(row.quantity, row.got, row.allowed) for row in failed(rows)]
    return not unchecked(rows)


PSFS = [("moffat", "optical"), ("gaussian", "effective"), ("gaussian", "optical")]


@pytest.mark.parametrize(("psf", "convention"), PSFS)
def test_every_psf_and_convention_passes(make_physics, psf, convention):
    """The effective Moffat is that of the experiments."""
    pytest.importorskip("lenstronomy")
    assert nothing_wrong(make_physics(f"psf={psf}", f"psf.convention={convention}", "source.n_sources=300"))


def test_elliptical_psfs_pass(make_physics):
    pytest.importorskip("lenstronomy")
    assert nothing_wrong(make_physics("psf.ellipticity_sigma=0.05", "source.n_sources=300"))


def test_adaptive_rays_pass(make_physics):
    pytest.importorskip("lenstronomy")
    assert nothing_wrong(make_physics("renderer.supersampling=adaptive", "source.n_sources=300"))


def test_psf_images_of_the_survey_pass_and_those_of_another_band_do_not(make_physics):
    """The mock sky with a PSF image of each object and band: Moffats, elliptical, as a coadd's would be."""
    pytest.importorskip("lenstronomy")
    plain = make_physics("source.n_sources=300")
    fwhm = torch.from_numpy(np.array(plain.cutouts.psf_fwhm_arcsec))
    shape = torch.full_like(fwhm, 0.04)
    images = moffat_kernel(fwhm, beta=3.0, size_px=63, pixel_scale_arcsec=0.262, e1=shape, e2=-shape).numpy()
    config = plain.config.model_copy(update={"psf": SurveyPsf(name="survey")})
    survey = replace(plain, config=config, cutouts=replace(plain.cutouts, psf_images=images))
    assert nothing_wrong(survey)

    def make_renderer(config, *, psf_images, **rest):
        return build_renderer(config, psf_images=np.roll(psf_images, 1, axis=1), **rest)

    for check in ("psf_fwhm", "lenstronomy"):
        assert failed(CHECKS[check](replace(survey, make_renderer=make_renderer)))


@pytest.mark.parametrize(
    ("lens", "arc_noise"), [("grid", "poisson"), ("natural", "poisson_correlated"), ("photometric", "none")]
)
def test_every_lens_prior_and_kind_of_arc_noise_passes(make_physics, lens, arc_noise):
    pytest.importorskip("lenstronomy")
    overrides = (f"lens={lens}", f"inject.arc_noise={arc_noise}", "colour=seed_sed", "source.n_sources=300")
    assert nothing_wrong(make_physics(*overrides))


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_file_passes(request, monkeypatch, make_physics, experiment):
    pytest.importorskip("lenstronomy")
    overrides = EXPERIMENTS[experiment]
    if any("{shared}" in text for text in overrides):
        shared = request.getfixturevalue("shared_data")
        monkeypatch.setenv("DHS_SHARED_DATA", str(shared))
        overrides = [text.replace("{shared}", str(shared)) for text in overrides]
    assert nothing_wrong(make_physics(f"experiment={experiment}", *overrides))


def test_every_experiment_file_is_tried():
    from dhs.config.cli import CONF_DIR

    assert {path.stem for path in (CONF_DIR / "experiment").glob("*.yaml")} == set(EXPERIMENTS)


def run_command(cache_dir, output_dir, *overrides: str) -> int:
    config = compose_job(
        "inject",
        [
            "task=selfcheck",
            "source.n_sources=100",
            "task.n_stamps=16",
            "task.n_reference=4",
            f"task.output_dir={output_dir}",
            f"paths.cache_dir={cache_dir}",
            *overrides,
        ],
        schema=InjectRoot,
    )
    return selfcheck(config)


def test_the_command_writes_a_json_and_a_page_that_needs_nothing_else(cache_dir, tmp_path, capsys):
    pytest.importorskip("lenstronomy")
    assert run_command(cache_dir, tmp_path) == 0
    content = json.loads((tmp_path / "selfcheck.json").read_text())
    assert content["passed"] and content["n_rows"] > 60
    assert list(dict.fromkeys(row["name"] for row in content["rows"])) == list(CHECKS)
    assert content["run"]["config"]["psf"]["name"] == "moffat"
    html = (tmp_path / "selfcheck.html").read_text()
    assert "PASS" in html and html.count("data:image/png") == 9
    assert "http" not in html
    table = capsys.readouterr().out
    assert "einstein_ring" in table and "FAIL" not in table


def test_rays_too_sparse_fail_with_exit_code_1(cache_dir, tmp_path, capsys):
    assert run_command(cache_dir, tmp_path, "renderer.supersampling=1") == 1
    assert "rays too sparse" in capsys.readouterr().out
    assert "What did not pass" in (tmp_path / "selfcheck.html").read_text()


def test_without_lenstronomy_the_exit_code_and_the_table_say_so(cache_dir, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(lensing, "lenstronomy_installed", lambda: False)
    assert run_command(cache_dir, tmp_path) == 3
    assert "not checked" in capsys.readouterr().out
    assert json.loads((tmp_path / "selfcheck.json").read_text())["n_not_checked"] == 1
