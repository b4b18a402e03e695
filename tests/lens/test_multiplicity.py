"""Image counts against lenstronomy's solver, and across the caustics of a lens whose caustics are known."""

import numpy as np
import pytest
import torch
from matplotlib.path import Path

from dhs.lens.multiplicity import image_count
from dhs.lens.sie import LensParameters


def count(lens: list[np.ndarray], x: np.ndarray, y: np.ndarray) -> np.ndarray:
    n = len(x)
    tensors = LensParameters(*(torch.from_numpy(np.broadcast_to(np.asarray(value, float), n).copy()) for value in lens))
    return image_count(tensors, source_x_arcsec=torch.from_numpy(x), source_y_arcsec=torch.from_numpy(y)).numpy()


def test_counts_are_lenstronomys_for_lenses_with_shear_wherever_the_source_is():
    """60 lenses of the wide prior, sources up to 1.3 theta_E from the axis, so that all counts occur."""
    pytest.importorskip("lenstronomy")
    from lenstronomy.LensModel.lens_model import LensModel
    from lenstronomy.LensModel.Solver.lens_equation_solver import LensEquationSolver

    rng = np.random.default_rng(11)
    n = 60
    theta_e, q, phi = rng.uniform(0.3, 3, n), rng.uniform(0.3, 0.98, n), rng.uniform(0, np.pi, n)
    shear, angle = np.abs(rng.normal(0, 0.07, n)).clip(max=0.15), rng.uniform(0, 2 * np.pi, n)
    x, y = rng.normal(0, 0.1, (2, n))
    g1, g2 = shear * np.cos(angle), shear * np.sin(angle)
    radius, azimuth = theta_e * 1.3 * np.sqrt(rng.random(n)), rng.uniform(0, 2 * np.pi, n)
    source_x = x - (g1 * x + g2 * y) + radius * np.cos(azimuth)
    source_y = y - (g2 * x - g1 * y) + radius * np.sin(azimuth)
    got = count([theta_e, q, phi, g1, g2, x, y], source_x, source_y)
    solver = LensEquationSolver(LensModel(["SIE", "SHEAR"]))
    expected = []
    for i in range(n):
        e = (1 - q[i]) / (1 + q[i])
        lens = [
            {
                "theta_E": theta_e[i],
                "e1": e * np.cos(2 * phi[i]),
                "e2": e * np.sin(2 * phi[i]),
                "center_x": x[i],
                "center_y": y[i],
            },
            {"gamma1": g1[i], "gamma2": g2[i]},
        ]
        images, _ = solver.image_position_from_source(
            source_x[i], source_y[i], lens, min_distance=theta_e[i] / 40, search_window=7 * theta_e[i]
        )
        expected.append(len(images))
    assert set(expected) >= {1, 2, 4}
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("q", [0.25, 0.7])
def test_the_count_is_one_plus_one_inside_the_cut_plus_two_inside_the_astroid(q):
    """Kormann+1994, to 1.5e-3 theta_E of either curve; at q = 0.25 the cusps are naked (three images)."""
    angle = np.linspace(0, 2 * np.pi, 8001)
    psi, flattening = np.hypot(q * np.cos(angle), np.sin(angle)), np.sqrt(1 - q * q)
    alpha_x = np.sqrt(q) / flattening * np.arctan(flattening * np.cos(angle) / psi)
    alpha_y = np.sqrt(q) / flattening * np.arctanh(flattening * np.sin(angle) / psi)
    cut = np.stack([alpha_x, alpha_y], axis=1)
    # The critical curve is psi = theta_E sqrt(q); the deflection does not depend on the radius.
    critical = np.sqrt(q) / psi
    astroid = np.stack([critical * np.cos(angle), critical * np.sin(angle)], axis=1) - cut
    rng = np.random.default_rng(2)
    near = np.concatenate([cut[rng.integers(8000, size=60)], astroid[rng.integers(8000, size=60)]])
    points = np.concatenate([near + rng.normal(0, 0.02, near.shape), rng.uniform(-1.5, 1.5, (50, 2))])
    away = [np.hypot(*(points[:, None] - curve[None, ::5]).transpose(2, 0, 1)).min(axis=1) for curve in (cut, astroid)]
    points = points[np.minimum(*away) > 1.5e-3]
    expected = 1 + Path(cut).contains_points(points) + 2 * Path(astroid).contains_points(points)
    got = count([1.0, q, 0.0, 0.0, 0.0, 0.0, 0.0], points[:, 0].copy(), points[:, 1].copy())
    np.testing.assert_array_equal(got, expected)
    assert set(expected) == ({1, 2, 3, 4} if q == 0.25 else {1, 2, 4})


def test_no_lenses_no_counts():
    assert count([1.0, 0.8, 0.0, 0.0, 0.0, 0.0, 0.0], np.array([]), np.array([])).shape == (0,)
