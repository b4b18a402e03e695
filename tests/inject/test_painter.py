"""`Painter`: recipes from a table give the stamps that the stream gave, bit for bit."""

import numpy as np
import pyarrow as pa
import pytest
import torch

from dhs.inject.build import build_injector, build_painter
from dhs.inject.recipe import RecipeBatch
from dhs.rng import Purpose


@pytest.mark.parametrize("noise", ["none", "poisson_correlated"])
def test_recipes_from_a_table_give_the_streams_stamps(small_config, noise):
    config = small_config(f"inject.arc_noise={noise}")
    streamed = build_injector(config).stamps(np.arange(24), purpose=Purpose.TRAIN, measure=True)
    table = pa.table(streamed.recipes.columns())
    recipes = RecipeBatch.from_columns({name: table[name].to_numpy() for name in table.column_names})
    painted = build_painter(config).stamps(recipes.take(np.arange(24)[::-1]), measure=True)
    assert torch.equal(painted.images.flip(0), streamed.images)
    assert torch.equal(painted.good.flip(0), streamed.good)
    for name, column in streamed.columns().items():
        if name == "n_tries" or name.startswith("n_rejected"):
            continue
        np.testing.assert_array_equal(painted.columns()[name][::-1], column, err_msg=name)


def test_a_sky_finds_the_rows_of_its_target_ids(small_config):
    cutouts = build_painter(small_config()).cutouts
    wanted = np.array([cutouts.target_id[7], -5, 999_999_999, cutouts.target_id[0]])
    assert cutouts.rows_of(wanted).tolist() == [7, -1, -1, 0]
