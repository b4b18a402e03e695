"""What counts as a real lens: audited, with a galaxy in a survey cutout; nothing else, whatever list it comes in."""

from dataclasses import replace

import numpy as np
import pytest

from dhs.evaluate.anchors.listed import read_listed, sample_table
from dhs.evaluate.anchors.sample import AnchorSample, audited
from dhs.sky.anchor_audit import AuditLimits
from dhs.sky.anchors import AnchorList, slacs_bells
from dhs.sky.cutouts import CutoutSet
from dhs.sky.known_lenses import lenscat
from tests.sky.test_anchors import cutouts_of, galaxy

N = 8


def first(n: int = N, **changes: np.ndarray) -> AnchorList:
    whole = slacs_bells()
    values = {name: value[:n] if isinstance(value, np.ndarray) else value for name, value in vars(whole).items()}
    return AnchorList(**(values | changes))


def sample_of(
    anchors: AnchorList, cutouts: CutoutSet | None, *, provenance: str = "real", by_hand: dict[str, str] | None = None
) -> AnchorSample:
    return audited(
        anchors,
        known=lenscat(),
        cutouts=cutouts,
        limits=AuditLimits(),
        by_hand=by_hand or {},
        provenance=provenance,  # type: ignore[arg-type]
    )


def test_audited_lenses_with_a_galaxy_in_their_cutout_count():
    anchors = first()
    sample = sample_of(anchors, cutouts_of(anchors, [galaxy(18.0)] * 6))
    assert sample.counting.tolist() == list(range(6))
    assert "no cutout" in sample.reason[6]


def test_without_cutouts_none_counts():
    assert len(sample_of(first(), None).counting) == 0


def test_a_wrong_position_never_counts_though_a_galaxy_is_there():
    anchors = first()
    moved = first(ra_deg=anchors.ra_deg + np.where(np.arange(N) == 2, 20 / 3600, 0.0))
    sample = sample_of(moved, cutouts_of(moved, [galaxy(18.0)] * N))
    assert 2 not in sample.counting and len(sample.counting) == N - 1
    listed = read_listed(sample_table(sample))
    assert listed.n_counting == N - 1
    assert [row["name"] for row in listed.left_out] == [anchors.name[2]]
    assert listed.left_out[0]["failed"] and "arcsec from its own J-name" in listed.left_out[0]["reason"]
    assert f"{N - 1} of the {N} objects" in listed.statement and "1 failed" in listed.statement


def test_a_cutout_without_a_galaxy_never_counts():
    anchors = first()
    images = [galaxy(40.0) if i == 3 else galaxy(18.0) for i in range(N)]
    sample = sample_of(anchors, cutouts_of(anchors, images))
    assert sample.reason[3] == "no object in the cutout" or "central object" in sample.reason[3]
    assert 3 not in sample.counting


def test_the_68_positions_of_the_seeds_give_no_denominator(shared_data):
    from dhs.sky.anchors import read_anchors

    wrong = read_anchors(shared_data / "anchors" / "seeds_wrong_positions.csv")
    assert len(sample_of(wrong, cutouts_of(wrong, [galaxy(18.0)] * 68)).counting) == 0


def test_a_stamp_of_the_simulated_telescope_is_never_a_real_lens():
    anchors = first()
    cutouts = replace(cutouts_of(anchors, [galaxy(18.0)] * N), origin=np.array(["simulated telescope", ""] * (N // 2)))
    real = sample_of(anchors, cutouts)
    assert real.counting.tolist() == [1, 3, 5, 7]
    assert "simulated telescope" in real.reason[0]
    degraded = sample_of(anchors, cutouts, provenance="degraded")
    assert degraded.counting.tolist() == [0, 2, 4, 6]


def test_two_names_of_one_cutout_are_one_lens():
    anchors = first(2)
    twice = AnchorList(
        **{name: np.repeat(v[:1], 2) if isinstance(v, np.ndarray) else v for name, v in vars(anchors).items()}
        | {"name": np.array(["one", "other"])}
    )
    sample = sample_of(twice, cutouts_of(twice, [galaxy(18.0)]))
    assert sample.counting.tolist() == [0]
    assert sample.reason[1] == "the same cutout as one"


def test_a_hard_negative_in_the_list_is_in_no_recall():
    anchors = first(kind=np.array(["lens"] * (N - 1) + ["ring"]))
    sample = sample_of(anchors, cutouts_of(anchors, [galaxy(18.0)] * N))
    assert N - 1 not in sample.counting
    assert sample.reason[-1] == "not a lens: ring"


def test_a_human_overrules_the_grade_but_not_the_audit():
    anchors = first()
    by_hand = {str(anchors.name[0]): "A", str(anchors.name[7]): "A"}
    sample = sample_of(anchors, cutouts_of(anchors, [galaxy(18.0)] * 7), by_hand=by_hand)
    assert sample.graded.grade[0] == "A" and 7 not in sample.counting
    with pytest.raises(ValueError, match="nobody is not in"):
        sample_of(anchors, None, by_hand={"nobody": "A"})


def test_the_identity_changes_with_a_pixel_a_grade_and_the_list():
    anchors = first()
    cutouts = cutouts_of(anchors, [galaxy(18.0)] * N)
    changed = replace(cutouts, images=np.array(cutouts.images) + np.float32(1e-4))
    by_hand = {str(anchors.name[0]): "A"}
    identities = {
        sample_of(anchors, cutouts).identity,
        sample_of(anchors, changed).identity,
        sample_of(anchors, cutouts, by_hand=by_hand).identity,
        sample_of(first(5), cutouts).identity,
        sample_of(anchors, cutouts, provenance="degraded").identity,
    }
    assert len(identities) == 5
    assert sample_of(anchors, cutouts).identity in identities
