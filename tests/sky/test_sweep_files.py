"""The sweep reader: block by block it gives what astropy gives at once, and names every damage."""

import gzip
import tracemalloc
from pathlib import Path

import fsspec
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from benchmarks.synthetic_sweep import sweep_rows, write_sweep
from dhs.sky.sweeps import DamagedFile, open_sweep


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweeps")
    return write_sweep(folder / "sweep-150m010-160m005.fits", sweep_rows(3000, seed=1))


@pytest.mark.parametrize("rows_per_block", [1, 700, 3000, 10_000])
def test_blocks_hold_what_astropy_reads(sweep: Path, rows_per_block: int) -> None:
    n_read = 300 if rows_per_block == 1 else 3000
    blocks = []
    for block in open_sweep(str(sweep)).blocks(rows_per_block=rows_per_block):
        blocks.append(block)
        if sum(len(b) for b in blocks) >= n_read:
            break
    table = Table.read(sweep)[:n_read]
    for name in table.colnames:
        mine = np.concatenate([block[name] for block in blocks])
        assert mine.dtype.byteorder in "=|", name
        expected = np.char.strip(np.asarray(table[name]).astype("U")) if mine.dtype.kind == "U" else table[name]
        assert np.array_equal(mine, expected), name


@pytest.mark.parametrize("where", ["gzip", "url"])
def test_a_gzipped_or_remote_file_reads_the_same(sweep: Path, tmp_path: Path, where: str) -> None:
    if where == "gzip":
        copy = tmp_path / "sweep-a.fits.gz"
        copy.write_bytes(gzip.compress(sweep.read_bytes()))
        location = str(copy)
    else:
        location = "memory://survey/sweep-a.fits"
        with fsspec.open(location, "wb") as file:
            file.write(sweep.read_bytes())
    here = next(open_sweep(str(sweep)).blocks(rows_per_block=3000))
    there = next(open_sweep(location).blocks(rows_per_block=3000))
    assert here.records.tobytes() == there.records.tobytes()


def test_column_names_match_in_any_case_and_logicals_are_bool(tmp_path: Path) -> None:
    """Tractor files are in lower case and carry brick_primary; an image extension may come first."""
    table = Table({"ra": [1.0, 2.0, 3.0], "brick_primary": [True, False, True]})
    path = tmp_path / "tractor-0010p000.fits"
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.ones((50, 60))), fits.BinTableHDU(table)]).writeto(path)
    rows = next(open_sweep(str(path)).blocks(rows_per_block=10))
    assert rows["RA"].tolist() == [1.0, 2.0, 3.0]
    assert rows["BRICK_PRIMARY"].tolist() == [True, False, True]


def test_memory_is_that_of_a_block_not_of_the_file(sweep: Path) -> None:
    table = open_sweep(str(sweep))
    block_bytes = 100 * table.dtype.itemsize
    tracemalloc.start()
    for rows in table.blocks(rows_per_block=100):
        rows["FLUX_R"].sum()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 * block_bytes < 0.3 * table.n_rows * table.dtype.itemsize


@pytest.mark.parametrize("compressed", [False, True])
def test_a_truncated_file_is_named_with_the_row_it_ends_at(sweep: Path, tmp_path: Path, compressed: bool) -> None:
    data = sweep.read_bytes()
    whole = gzip.compress(data) if compressed else data
    path = tmp_path / ("sweep-cut.fits.gz" if compressed else "sweep-cut.fits")
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DamagedFile, match=r"sweep-cut\.fits") as caught:
        for _ in open_sweep(str(path)).blocks(rows_per_block=500):
            pass
    assert len(str(caught.value).splitlines()) == 1
    if not compressed:
        assert "ends after row 14" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("sweep-a.csv", b"RA,DEC\n1,2\n", ValueError, r"sweep-a\.csv: not a sweep or Tractor file by its name"),
        ("sweep-a.fits", b"<html>404</html>", DamagedFile, r"sweep-a\.fits: does not begin as a FITS"),
        ("sweep-a.fits", b"SIMPLE  =" + b" " * 20, DamagedFile, r"sweep-a\.fits: cannot be read"),
        ("sweep-a.fits.gz", b"not gzip", DamagedFile, r"sweep-a\.fits\.gz: cannot be read"),
    ],
)
def test_what_is_no_fits_table_is_named(
    tmp_path: Path, name: str, content: bytes, error: type[Exception], message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(error, match=message):
        open_sweep(str(path))


def test_a_fits_file_without_a_table_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "sweep-a.fits"
    fits.PrimaryHDU(np.ones((4, 4))).writeto(path)
    with pytest.raises(DamagedFile, match="sweep-a"):
        open_sweep(str(path))


def test_a_missing_file_and_missing_columns_are_named(sweep: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        open_sweep(str(tmp_path / "sweep-nowhere.fits"))
    with pytest.raises(ValueError, match=r"sweep-150m010.*no column FLUX_Y, SIZE; allowed: DR10 sweep"):
        open_sweep(str(sweep)).require(("RA", "FLUX_Y", "SIZE"))


def test_scaled_columns_are_refused_rather_than_read_wrong(tmp_path: Path) -> None:
    path = tmp_path / "sweep-a.fits"
    column = fits.Column(name="NOBS_G", format="I", array=np.arange(5, dtype=np.uint16), bzero=2**15)
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns([column])]).writeto(path)
    with pytest.raises(ValueError, match=r"scaled columns \(NOBS_G: TSCAL"):
        open_sweep(str(path))
