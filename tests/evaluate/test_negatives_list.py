"""The user's own list of non-lenses counts only what passes its audit, and then decides the contamination."""

import numpy as np
import pyarrow as pa
import pytest
from rich.console import Console

from dhs.config.evaluation import CalibrationConfig, EvaluateConfig, NegativesConfig
from dhs.evaluate.calibration import calibrate
from dhs.evaluate.context import EvaluationContext
from dhs.evaluate.negatives import section, with_list
from dhs.evaluate.negatives_list import own_list
from dhs.inject.build import build_injector
from tests.evaluate.conftest import as_held_out


class Finder:
    def maker(self, cutouts):
        return lambda stamps: stamps.recipes.target_id

    def logits(self, batch):
        return np.where(np.asarray(batch) % 2, 3.0, -3.0)


@pytest.fixture
def context(small_config, tmp_path, monkeypatch):
    config = small_config()
    cutouts = build_injector(config).cutouts
    if not np.isfinite(cutouts.ra_deg).all():
        pytest.fail("the mock sky has positions")
    rows = np.flatnonzero(cutouts.mag[:, 1] < 19.0)[:10]
    lines = ["name,ra_deg,dec_deg,kind"]
    lines += [f"o{row},{cutouts.ra_deg[row]:.7f},{cutouts.dec_deg[row]:.7f},ring" for row in rows]
    lines.append(f"far,{cutouts.ra_deg[rows[0]]:.7f},{cutouts.dec_deg[rows[0]] + 0.01:.7f},ring")
    lines.append(f"lens1,{cutouts.ra_deg[rows[1]]:.7f},{cutouts.dec_deg[rows[1]]:.7f},lens")
    path = tmp_path / "list.csv"
    path.write_text("\n".join(lines))
    monkeypatch.setattr("dhs.evaluate.negatives_list._cutouts", lambda context: cutouts)

    def make(*, finder=Finder, **negatives):
        return EvaluationContext(
            config=config,
            settings=EvaluateConfig(negatives=NegativesConfig(**negatives)),
            output_dir=tmp_path,
            num_workers=0,
            console=Console(quiet=True),
            finder_identity="f",
            open_finder=finder,
            open_supply=None,
        )

    return make, path, cutouts


def test_what_fails_the_audit_does_not_count_and_the_rest_decides_the_target(context, test_scores, val_scores):
    make, path, cutouts = context
    own = own_list(make(store=(path,), list=path))
    assert sum(own.left_out.values()) >= 2
    assert "kind = lens: no negative" in own.left_out
    assert any("no cutout" in reason for reason in own.left_out)
    calibration = calibrate(as_held_out(val_scores), fprs=(0.1,), settings=CalibrationConfig())
    names = own.counting["name"].to_pylist()
    flagged = sum(int(cutouts.target_id[int(name[1:])]) % 2 for name in names)
    together = own.rates(calibration=calibration)["all of the list"]["raw"]
    assert (together.k, together.n) == (flagged, len(names))
    negatives = as_held_out(test_scores.filter(pa.array(test_scores["label"].to_numpy() == 0)))
    made = with_list(section(negatives, calibration=calibration, pictures=""), own, calibration=calibration)
    assert f"({flagged} of {len(names)} of your list)" in made.verdicts[0].estimate
    assert len(made.verdicts) == 1
    assert "left out" in made.html
    again = own_list(make(finder=None))  # as task=report: nothing but what is stored
    assert again.counting.equals(own.counting)
    assert again.left_out == own.left_out


def test_without_a_list_there_is_none(context):
    make, _, _ = context
    assert own_list(make()) is None
    assert own_list(make(finder=None)) is None


def test_a_store_without_a_list_is_refused(tmp_path):
    with pytest.raises(ValueError, match="store and list belong together"):
        NegativesConfig(store=(tmp_path,))
