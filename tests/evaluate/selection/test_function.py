"""The published table: read back without torch, exact at the nodes, NaN where nothing was measured."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from dhs.evaluate.selection.cells import completeness
from dhs.evaluate.selection.function import COLUMNS, SelectionFunction
from dhs.evaluate.selection.grid import SelectionGrid
from dhs.evaluate.selection.table import selection_table, write_selection_table
from dhs.rng import Purpose, keyed_rng
from tests.evaluate.selection.grids import GRID, HOSTS, injections

REPO = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made, _ = injections(keyed_rng(31, Purpose.BENCHMARK, 0, 0))
    cells = {
        "fpr_0.01": completeness(made, found=made.logit > 0),
        "p_0.5": completeness(made, found=np.ones(len(made), bool)),
    }
    table = selection_table(
        GRID,
        cells,
        thresholds={name: {"label": name} for name in cells},
        main_threshold="fpr_0.01",
        provenance={"run": "test"},
    )
    path = tmp_path_factory.mktemp("selection") / "selection_function.parquet"
    write_selection_table(table, path=path)
    return path


@pytest.fixture
def function(published: Path) -> SelectionFunction:
    return SelectionFunction.read(published)


def points(function: SelectionFunction) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return tuple(np.meshgrid(*function.grid.nodes, indexing="ij"))  # type: ignore[return-value]


def test_it_is_exact_at_the_nodes_beside_empty_cells_too(function):
    value, error = function.completeness(*points(function))
    filled = np.broadcast_to(HOSTS > 0, GRID.shape)
    assert np.array_equal(value, function.cells["completeness"], equal_nan=True)
    assert np.array_equal(error, function.cells["error"], equal_nan=True)
    assert np.isfinite(value[filled]).all() and np.isnan(value[~filled]).all()


def test_between_nodes_it_is_monotone_and_never_beyond_its_neighbours(function):
    theta, psf, depth = function.grid.nodes
    for i in range(len(theta) - 1):
        along = np.linspace(theta[i], theta[i + 1], 41)
        value, error = function.completeness(along, psf[0], depth[2])
        ends = function.cells["completeness"][i : i + 2, 0, 2]
        steps = np.diff(value)
        assert ((steps >= -1e-12) | (ends[1] < ends[0])).all() and ((steps <= 1e-12) | (ends[1] > ends[0])).all()
        assert value.min() >= ends.min() - 1e-12 and value.max() <= ends.max() + 1e-12
        assert (error > 0).all()
    middle = function.completeness(0.5 * (theta[0] + theta[1]), psf[0], depth[0]).value
    assert middle == pytest.approx(function.cells["completeness"][:2, 0, 0].mean())


def test_outside_the_nodes_and_next_to_an_empty_cell_it_is_nan(function):
    theta, psf, depth = function.grid.nodes
    for place in (
        (theta[0] - 1e-6, psf[0], depth[0]),
        (theta[-1] + 1e-6, psf[0], depth[0]),
        (1.0, psf[0] - 0.01, depth[0]),
        (1.0, psf[0], depth[-1] + 0.01),
        (np.nan, psf[0], depth[0]),
    ):
        assert np.isnan(function.completeness(*place)).all()
    towards_the_empty_cell = function.completeness(1.0, psf[1], np.linspace(depth[0], depth[2], 21)).value
    assert np.isnan(towards_the_empty_cell[1:-1]).all() and np.isfinite(towards_the_empty_cell[[0, -1]]).all()
    assert np.isfinite(function.completeness(1.0, psf[0], np.linspace(depth[0], depth[2], 21)).value).all()


def test_the_interval_holds_the_value(function):
    theta, psf, depth = (np.random.default_rng(0).uniform(n[0], n[-1], 200) for n in function.grid.nodes)
    psf[::2] = function.grid.nodes[1][0]  # between the two seeings every square touches the empty cell
    value = function.completeness(theta, psf, depth).value
    interval = function.interval(theta, psf, depth)
    some = np.isfinite(value)
    assert np.array_equal(some, np.arange(200) % 2 == 0)
    assert ((interval[some, 0] <= value[some]) & (value[some] <= interval[some, 1])).all()


def test_arguments_broadcast(function):
    value, error = function.completeness([[0.7], [1.2]], 1.0, [23.9, 24.5, 25.0])
    assert value.shape == error.shape == (2, 3)


def test_a_threshold_is_chosen_by_name(published):
    assert (SelectionFunction.read(published, threshold="p_0.5").completeness(1.2, 1.0, 24.5).value == 1).all()
    assert list(SelectionFunction.read(published).thresholds) == ["fpr_0.01", "p_0.5"]
    with pytest.raises(ValueError, match=r"threshold = 'fpr_0.1': must be one of fpr_0.01, p_0.5"):
        SelectionFunction.read(published, threshold="fpr_0.1")


def test_an_axis_with_one_cell_holds_for_its_node_alone(tmp_path):
    grid = SelectionGrid(np.array([1.0, 2.0]), np.array([0.9, 1.5]), np.array([24.0, 25.0]))
    made, _ = injections(keyed_rng(31, Purpose.BENCHMARK, 0, 1))
    chosen = made.cell < 2
    two = made.__class__(
        **{k: v[chosen] if isinstance(v, np.ndarray) else v for k, v in vars(made).items()} | {"grid": grid}
    )
    cells = completeness(two, found=two.logit > 0)
    path = tmp_path / "one.parquet"
    write_selection_table(
        selection_table(grid, {"a": cells}, thresholds={"a": {}}, main_threshold="a", provenance={}), path=path
    )
    function = SelectionFunction.read(path)
    assert function.completeness(1.5, 1.2, 24.5).value == pytest.approx(cells.value.mean())
    assert np.isnan(function.completeness(1.5, 1.21, 24.5).value)


def test_it_reads_without_torch_and_says_its_units(published):
    code = (
        "import sys\n"
        "for name in ('torch', 'matplotlib', 'statsmodels', 'sklearn', 'astropy', 'pydantic', 'hydra'):\n"
        "    sys.modules[name] = None\n"
        "from dhs.evaluate.selection.function import SelectionFunction\n"
        f"value, error = SelectionFunction.read({str(published)!r}).completeness([0.7, 1.2], 1.0, 24.5)\n"
        "print(float(value[1]) > float(value[0]) > 0, float(error[0]) > 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True)
    assert done.stdout.strip() == "True True", done.stderr
    schema = pq.read_schema(published)
    for name in COLUMNS:
        assert b"description" in schema.field(name).metadata
    assert schema.field("theta_e_arcsec").metadata[b"unit"] == b"arcsec"
    assert json.loads(schema.metadata[b"dhs.selection_function"])["provenance"] == {"run": "test"}


def test_what_is_no_selection_function_is_refused_in_one_line(tmp_path, published):
    with pytest.raises(ValueError, match="no such file"):
        SelectionFunction.read(tmp_path / "absent.parquet")
    (tmp_path / "text.parquet").write_text("theta_e,completeness")
    with pytest.raises(ValueError, match="not a Parquet file"):
        SelectionFunction.read(tmp_path / "text.parquet")
    table = pq.read_table(published)
    pq.write_table(table.replace_schema_metadata({}), tmp_path / "bare.parquet")
    with pytest.raises(ValueError, match="no selection function"):
        SelectionFunction.read(tmp_path / "bare.parquet")
    pq.write_table(table.slice(1), tmp_path / "short.parquet")
    with pytest.raises(ValueError, match="are not the 24 cells of a grid"):
        SelectionFunction.read(tmp_path / "short.parquet")
