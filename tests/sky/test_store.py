"""sky=store: the CutoutSet of a store, mapped or resident; what is bad never gets in."""

import pickle
import re
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from torch.utils.data import DataLoader

from dhs.config.cli import compose_job
from dhs.config.load import ConfigError
from dhs.config.root import TrainConfig
from dhs.config.sky import SplitConfig, StoreSky
from dhs.constants import CLASSES, SPLITS
from dhs.inject.build import build_injector
from dhs.inject.stream import InjectionStream
from dhs.rng import Purpose
from dhs.sky import cutout_shard
from dhs.sky.build import load_sky
from dhs.sky.coadd_bricks import BrickReader
from dhs.sky.cutout_job import make_store
from dhs.sky.mapped import MappedRows
from dhs.sky.shards import SampleLayout
from dhs.sky.splits import split_of_position
from dhs.sky.store import load_store_sky
from tests.conftest import SMALL
from tests.sky.store_files import make_task, nothing, target_table, write_bricks


@pytest.fixture(scope="module")
def coadd(tmp_path_factory):
    root = tmp_path_factory.mktemp("coadd")
    write_bricks(root)
    return root


@pytest.fixture(scope="module")
def store(tmp_path_factory, coadd):
    folder = tmp_path_factory.mktemp("made")
    make_store(make_task(folder, coadd), cache_dir=folder, progress=nothing)
    return folder / "store"


def sky(path, **changes):
    return StoreSky.model_validate({"name": "store", "path": path, **changes})


@pytest.fixture(scope="module")
def cutouts(store):
    return load_store_sky(sky(store))


def test_only_good_cutouts_are_in_the_set_and_the_others_are_counted_in_the_log(store, caplog):
    with caplog.at_level("INFO"):
        cutouts = load_store_sky(sky(store))
    index = pq.read_table(store / "index.parquet").to_pandas()
    assert set(cutouts.target_id) == set(index.target_id[index.cutout_ok])
    assert len(cutouts) == 55
    assert "55 cutouts of 60 targets; left out: 5 masked_centre" in caplog.text


def test_pixels_and_columns_are_those_of_the_bricks_and_the_list(cutouts, coadd):
    table = target_table().to_pandas().set_index("target_id").loc[cutouts.target_id]
    bricks = table.brickname.to_numpy(dtype=str)
    wanted = BrickReader(str(coadd), size_px=64).fetch(table.ra_deg.to_numpy(), table.dec_deg.to_numpy(), brick=bricks)
    np.testing.assert_array_equal(cutouts.images[:], wanted.images)
    np.testing.assert_array_equal(cutouts.invvar[:], wanted.invvar)
    np.testing.assert_array_equal(cutouts.maskbits[:], wanted.maskbits)
    np.testing.assert_array_equal(cutouts.centre_x_arcsec, wanted.centre_arcsec[:, 0])
    np.testing.assert_array_equal(cutouts.centre_y_arcsec, wanted.centre_arcsec[:, 1])
    np.testing.assert_array_equal(cutouts.psf_fwhm_arcsec, wanted.psfsize_arcsec)
    np.testing.assert_array_equal(cutouts.ra_deg, table.ra_deg)
    np.testing.assert_array_equal(np.array(CLASSES)[cutouts.kind], table.kind)
    np.testing.assert_array_equal(np.array(SPLITS)[cutouts.split], table.split)
    np.testing.assert_allclose(cutouts.mag[:, 1], 22.5 - 2.5 * np.log10(table.flux_r_nmgy), rtol=1e-6)
    np.testing.assert_allclose(cutouts.axis_ratio, table.axis_ratio, rtol=1e-6)
    np.testing.assert_allclose(cutouts.redshift, np.where(table.z_phot > 0, table.z_phot, np.nan), rtol=1e-6)
    assert np.isnan(cutouts.redshift).any()
    assert cutouts.images.dtype == np.float32 and cutouts.maskbits.dtype == np.int16 and cutouts.kind.dtype == np.int8


INDICES = [
    3,
    -1,
    np.int64(7),
    slice(None),
    slice(5, 40, 7),
    slice(50, 10, -3),
    np.array([4, 54, 4, 0]),
    [1, 2],
    np.arange(55) % 9 == 2,
    (6, 1),
    (6, slice(None), 3),
    (np.array([3, 50]), 2),
    (slice(2, 9), slice(None), slice(10, 20)),
    np.array([], int),
]


@pytest.mark.parametrize("index", INDICES, ids=str)
def test_mapped_rows_are_indexed_as_numpy_indexes(cutouts, index):
    whole = cutouts.images[:]
    assert isinstance(cutouts.images, MappedRows) and isinstance(whole, np.ndarray)
    np.testing.assert_array_equal(cutouts.images[index], whole[index])


def test_a_row_beyond_the_end_is_an_index_error(cutouts):
    with pytest.raises(IndexError):
        cutouts.images[55]
    with pytest.raises(IndexError):
        cutouts.images[np.array([0, 99])]


def test_what_a_reader_does_to_its_pixels_stays_with_the_reader(cutouts):
    rows = cutouts.images[np.array([1, 2])]
    rows += 1.0
    one = cutouts.images[1]
    one += 1.0
    assert abs(float(cutouts.images[1].mean())) < 0.5


def test_resident_and_mapped_are_the_same_and_resident_is_plain_numpy(store, cutouts):
    resident = load_store_sky(sky(store, resident=True))
    assert type(resident.images) is np.ndarray
    np.testing.assert_array_equal(resident.images, cutouts.images[:])
    np.testing.assert_array_equal(np.asarray(cutouts.invvar), resident.invvar)


def test_a_pickled_set_sends_names_and_no_pixels(cutouts):
    """A spawned worker gets the set by pickle: 55 stamps would be 6 MB."""
    data = pickle.dumps(cutouts)
    assert len(data) < 30_000
    np.testing.assert_array_equal(pickle.loads(data).images[:], cutouts.images[:])


def test_taking_rows_and_the_first_n_galaxies(store, cutouts):
    taken = cutouts.take(np.array([9, 3]))
    np.testing.assert_array_equal(taken.images, cutouts.images[np.array([9, 3])])
    first = load_sky(sky(store), cache_dir=store, max_galaxies=20)
    np.testing.assert_array_equal(first.target_id, cutouts.target_id[:20])
    np.testing.assert_array_equal(first.images[:], cutouts.images[:20])


@pytest.mark.parametrize("name", ["flux_{}", "mag_{}"])
def test_tractors_fluxes_and_magnitudes_serve_as_well(tmp_path, coadd, name):
    table = target_table().drop_columns([f"flux_{band}_nmgy" for band in "grz"])
    for band in "grz":
        table = table.append_column(name.format(band), pa.array(np.linspace(18, 19, 60)))
    make_store(make_task(tmp_path, coadd, table=table), cache_dir=tmp_path, progress=nothing)
    mag = load_store_sky(sky(tmp_path / "store")).mag
    wanted = np.linspace(18, 19, 60)
    wanted = wanted if name.startswith("mag") else 22.5 - 2.5 * np.log10(wanted)
    assert set(np.round(mag[:, 2], 4)) <= set(np.round(wanted.astype(np.float32), 4))


def test_another_split_may_be_asked_for(store):
    wanted = SplitConfig(salt="other")
    cutouts = load_store_sky(sky(store, split=wanted.model_dump()))
    np.testing.assert_array_equal(cutouts.split, split_of_position(cutouts.ra_deg, cutouts.dec_deg, config=wanted))


@pytest.fixture
def own_store(store, tmp_path):
    shutil.copytree(store, tmp_path / "store")
    return tmp_path / "store"


def change_pixel(store, index, *, value):
    """Write ``value`` over one pixel of the first cutout of shard 1, in the tar."""
    row = index[(index.shard == 1) & index.cutout_ok].iloc[0]
    with (store / "shard-000001.tar").open("r+b") as file:
        file.seek(int(row.offset) + SampleLayout(64).offsets["image"] + 4 * (64 * 20 + 20))
        file.write(np.float32(value).tobytes())
    return int(row.target_id)


def test_a_damaged_cutout_is_left_out_and_counted_where_the_store_is_verified(own_store, caplog):
    index = pq.read_table(own_store / "index.parquet").to_pandas()
    damaged = change_pixel(own_store, index, value=0.25)
    assert damaged in load_store_sky(sky(own_store)).target_id  # nobody looked
    cutouts = load_store_sky(sky(own_store, verify=True))
    assert damaged not in cutouts.target_id and len(cutouts) == 54
    assert f"1 damaged cutouts left out, first target_id {damaged}" in caplog.text


def test_cutouts_that_are_not_fit_are_left_out_even_with_a_right_checksum(tmp_path, coadd, monkeypatch):
    """A store whose maker did not judge: `verify` judges again."""
    monkeypatch.setattr(cutout_shard, "faults", lambda images, *rest, quality: ([""] * len(images),) * 2)
    make_store(make_task(tmp_path, coadd), cache_dir=tmp_path, progress=nothing)
    assert len(load_store_sky(sky(tmp_path / "store"))) == 60
    assert len(load_store_sky(sky(tmp_path / "store", verify=True))) == 55


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_shard_of_another_length_is_one_line(own_store, damage):
    path = own_store / "shard-000001.tar"
    content = path.read_bytes()
    path.unlink()
    if damage == "cut":
        path.write_bytes(content[:-100])
    with pytest.raises(ValueError, match=r"shard-000001\.tar: \d+ bytes, written were \d+; run .* again"):
        load_store_sky(sky(own_store))


def test_an_unfinished_store_is_refused_before_anything_is_loaded(own_store):
    (own_store / "store.json").unlink()
    with pytest.raises(ConfigError, match=r"sky\.path = .*store\.json: no such file; give a finished store"):
        compose_job("train", ["sky=store", f"sky.path={own_store}"], schema=TrainConfig)
    with pytest.raises(ValueError, match="no finished store"):
        load_store_sky(sky(own_store))


def test_a_store_of_another_version_is_refused(own_store):
    card = own_store / "store.json"
    card.write_text(card.read_text().replace('"schema_version": 1', '"schema_version": 99'))
    with pytest.raises(ValueError, match="version 99"):
        load_store_sky(sky(own_store))


@pytest.mark.parametrize("column", ["target_id", "kind", "split", "psfsize_r_arcsec"])
def test_a_store_without_a_needed_column_says_which(own_store, column):
    path = own_store / "index.parquet"
    pq.write_table(pq.read_table(path).drop_columns([column]), path)
    with pytest.raises(ValueError, match=rf"index\.parquet: has no column {column}, which every galaxy needs"):
        load_store_sky(sky(own_store))


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("kind", "quasar", r"kind = quasar: must be one of lrg, "),
        ("split", "none", r"split = none: must be one of train, val, test"),
        ("psfsize_z_arcsec", float("nan"), r"psfsize is not known for 1 of \d+ galaxies, first target_id \d+"),
    ],
)
def test_a_value_that_no_galaxy_can_have_is_refused(own_store, column, value, said):
    path = own_store / "index.parquet"
    table = pq.read_table(path)
    values = table[column].to_pylist()
    values[table["cutout_ok"].to_pylist().index(True)] = value
    place = table.column_names.index(column)
    pq.write_table(table.set_column(place, column, pa.array(values, table.schema.field(column).type)), path)
    with pytest.raises(ValueError, match=said):
        load_store_sky(sky(own_store))


def test_a_garbled_index_is_one_line(own_store):
    (own_store / "index.parquet").write_bytes(b"PAR1 nonsense")
    with pytest.raises(ValueError, match=r"index\.parquet: not readable"):
        load_store_sky(sky(own_store))


def stamps(config, *, num_workers):
    injector = build_injector(config)
    stream = InjectionStream(
        injector,
        purpose=Purpose.TRAIN,
        epoch=1,
        batch_size=config.trainer.batch_size,
        transform=lambda batch: {"images": batch.images, "id": injector.cutouts.target_id[batch.recipes.row]},
    )
    batches = list(DataLoader(stream, batch_size=None, num_workers=num_workers))
    return np.concatenate([batch["images"] for batch in batches]), np.concatenate([batch["id"] for batch in batches])


def test_a_stream_from_a_store_is_the_same_mapped_resident_and_in_workers(store, cache_dir):
    """Order by (seed, epoch) alone; every galaxy of the split may come."""

    def config(*overrides):
        settings = [*SMALL, "sky=store", f"sky.path={store}", f"paths.cache_dir={cache_dir}", "inject=paired"]
        settings = [s for s in settings if not s.startswith("max_galaxies")]
        return compose_job(
            "train",
            [
                *settings,
                "inject.acceptance.max_tries=1",
                "source=sersic",
                "source.n_sources=100",
                "inject.samples_per_epoch=96",
                *overrides,
            ],
            schema=TrainConfig,
        )

    images, ids = stamps(config(), num_workers=0)
    again, ids_again = stamps(config("sky.resident=true"), num_workers=2)
    np.testing.assert_array_equal(ids, ids_again)
    np.testing.assert_array_equal(images, again)
    assert len(images) == 96 and np.isfinite(images).all()
    assert len(set(ids.tolist())) > 10


def test_too_many_shards_for_the_machine_say_so(store, monkeypatch):
    monkeypatch.setattr("resource.getrlimit", lambda which: (100, 200))
    with pytest.raises(ValueError, match=re.escape("2 shards need 258 open files, the machine allows 200")):
        load_store_sky(sky(store))
