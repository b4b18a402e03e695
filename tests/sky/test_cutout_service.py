"""The cutout service's client against a loopback server: good answers, every way to fail, politeness, the cache."""

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dhs.config.cutouts import CutoutService, CutoutsTask
from dhs.sky.cutout_job import make_store
from dhs.sky.cutout_service import ServiceClient, _retry_after_s, border_invvar
from tests.sky.service_server import SIGMA_NMGY, serving, sky_of

RA = 150.1234567


@pytest.fixture
def service():
    with serving() as running:
        yield running


def config_of(*services, **changes):
    base = {
        "urls": tuple(one.url for one in services),
        "min_interval_s": 0.0,
        "timeout_s": 5.0,
        "max_tries": 3,
        "backoff_s": 0.01,
    }
    return CutoutService.model_validate({**base, **changes})


def fetch(config, tmp_path, ra=RA, dec=2.0):
    ra, dec = np.atleast_1d(np.asarray(ra, float)), np.broadcast_to(dec, np.shape(np.atleast_1d(ra))).astype(float)
    client = ServiceClient(config, size_px=64, cache_dir=tmp_path / "cache")
    return client.fetch(ra, dec, placed=np.isfinite(ra), done=lambda: None)


def key(ra):
    return f"{ra:.7f}"


def test_a_good_answer_is_the_services_pixels_with_its_inverse_variances(service, tmp_path):
    fetched = fetch(config_of(service), tmp_path)
    assert fetched.reason == [""] and fetched.invvar_source == ["service"]
    np.testing.assert_array_equal(fetched.images[0], sky_of(RA, 64))
    np.testing.assert_allclose(fetched.invvar[0, :, 0, 0], np.array(SIGMA_NMGY) ** -2.0, rtol=1e-6)
    assert service.requests == [
        {
            "ra": "150.1234567",
            "dec": "2.0000000",
            "size": "64",
            "layer": "ls-dr10",
            "pixscale": "0.262",
            "bands": "grz",
            "invvar": "",
        }
    ]


def test_without_inverse_variances_the_border_gives_them_and_the_row_says_so(service, tmp_path):
    service.gives_invvar = False
    fetched = fetch(config_of(service), tmp_path)
    assert fetched.invvar_source == ["border"]
    np.testing.assert_allclose(fetched.invvar[0, :, 30, 30] ** -0.5, SIGMA_NMGY, rtol=0.06)


def test_a_pixel_that_is_exactly_zero_has_no_data():
    image = sky_of(RA, 64)
    image[1, 20:30, 20:30] = 0.0
    invvar = border_invvar(image)
    np.testing.assert_array_equal(invvar == 0, image == 0)


def test_bands_in_another_order_are_put_in_ours(service, tmp_path):
    service.plan[key(RA)] = ["zgr"]
    fetched = fetch(config_of(service), tmp_path)
    np.testing.assert_array_equal(fetched.images[0], sky_of(RA, 64))
    np.testing.assert_allclose(fetched.invvar[0, :, 5, 5], np.array(SIGMA_NMGY) ** -2.0, rtol=1e-6)


TRANSIENT = {
    "429": "rate_limited",
    "500": "server_error",
    "503": "server_error",
    "html": "not_fits",
    "cut": "truncated",
    "short": "truncated",
    "blocks": "truncated",
    "elsewhere": "wrong_position",
}


@pytest.mark.parametrize("answer", TRANSIENT)
def test_a_passing_fault_is_tried_again_and_then_good(service, tmp_path, answer):
    service.plan[key(RA)] = [answer, "good"]
    fetched = fetch(config_of(service), tmp_path)
    assert fetched.reason == [""] and len(service.requests) == 2
    np.testing.assert_array_equal(fetched.images[0], sky_of(RA, 64))


@pytest.mark.parametrize("answer", TRANSIENT)
def test_a_lasting_fault_is_given_up_after_max_tries_and_named(service, tmp_path, answer):
    service.plan[key(RA)] = [answer]
    fetched = fetch(config_of(service), tmp_path, ra=[RA, RA + 1])
    assert fetched.reason == [TRANSIENT[answer], ""]
    assert fetched.detail[0] and len(service.requests) == 3 + 1
    assert (fetched.images[0] == 0).all()


PERMANENT = {
    "404": "not_served",
    "400": "not_served",
    "small": "wrong_size",
    "two bands": "wrong_bands",
    "coarse": "wrong_scale",
}


@pytest.mark.parametrize("answer", PERMANENT)
def test_a_fault_of_the_target_is_not_asked_for_again(service, tmp_path, answer):
    service.plan[key(RA)] = [answer]
    fetched = fetch(config_of(service), tmp_path)
    assert fetched.reason == [PERMANENT[answer]]
    assert len(service.requests) == 1


def test_a_host_that_does_not_answer_in_time_is_tried_again(service, tmp_path):
    service.plan[key(RA)] = ["slow", "good"]
    assert fetch(config_of(service, timeout_s=0.2), tmp_path).reason == [""]
    service.plan[key(RA + 1)] = ["slow"]
    assert fetch(config_of(service, timeout_s=0.2, max_tries=2), tmp_path, ra=RA + 1).reason == ["timeout"]


def test_a_host_that_is_not_there_is_unreachable(service, tmp_path):
    config = config_of(service).model_copy(update={"urls": ("http://127.0.0.1:9/fits-cutout",)})
    assert fetch(config, tmp_path).reason == ["unreachable"]


def test_retry_after_is_honoured_and_outlasts_the_backoff(service, tmp_path):
    service.plan[key(RA)] = ["429 1", "good"]
    assert fetch(config_of(service), tmp_path).reason == [""]
    assert service.times[1] - service.times[0] >= 1.0


def test_retry_after_may_be_a_date():
    later = datetime.now(UTC) + timedelta(seconds=90)
    assert 85 < _retry_after_s(format_datetime(later, usegmt=True)) <= 90
    assert _retry_after_s("soon") == 0.0 and _retry_after_s("") == 0.0 and _retry_after_s("2.5") == 2.5


def test_a_host_that_asks_for_a_longer_wait_stops_the_job_with_one_line(service, tmp_path):
    service.plan[key(RA)] = ["429 3600"]
    with pytest.raises(
        ValueError, match=r"127\.0\.0\.1.*status 429, asks to wait 3600 s, more than .*max_wait_s = 300"
    ):
        fetch(config_of(service), tmp_path)
    assert len(service.requests) == 1


def test_the_wait_doubles_from_try_to_try(service, tmp_path):
    service.plan[key(RA)] = ["500"]
    fetch(config_of(service, max_tries=4, backoff_s=0.1), tmp_path)
    waits = np.diff(service.times)
    assert (waits >= [0.1, 0.2, 0.4]).all() and waits.sum() < 3.0


def test_one_request_at_a_time_and_a_pause_between_two(service, tmp_path):
    service.delay_s = 0.02
    fetch(config_of(service, min_interval_s=0.08), tmp_path, ra=RA + np.arange(6))
    assert service.most_at_once == 1
    assert min(after - before for before, after in pairwise(service.times)) >= 0.08


def test_a_host_is_not_hammered_while_it_fails(service, tmp_path):
    """Tries count as requests: the pause holds between them as well."""
    for i in range(3):
        service.plan[key(RA + i)] = ["html"]
    fetch(config_of(service, min_interval_s=0.08, backoff_s=0.001), tmp_path, ra=RA + np.arange(3))
    assert len(service.times) == 9
    assert min(after - before for before, after in pairwise(service.times)) >= 0.08


def test_two_hosts_share_the_work_each_one_request_at_a_time(tmp_path):
    with serving() as first, serving() as second:
        first.delay_s = second.delay_s = 0.03
        fetched = fetch(config_of(first, second), tmp_path, ra=RA + np.arange(12))
        assert set(fetched.reason) == {""}
        assert first.most_at_once == second.most_at_once == 1
        assert len(first.requests) + len(second.requests) == 12
        assert min(len(first.requests), len(second.requests)) >= 3
    for i in range(12):
        np.testing.assert_array_equal(fetched.images[i], sky_of(RA + i, 64))


def test_a_host_that_fails_again_and_again_stops_the_job(service, tmp_path):
    for i in range(10):
        service.plan[key(RA + i)] = ["503"]
    with pytest.raises(
        ValueError, match="3 cutouts in a row not given, last: server_error .*run the same command later"
    ):
        fetch(config_of(service, give_up_after=3, max_tries=1), tmp_path, ra=RA + np.arange(10))
    assert len(service.requests) == 3


def test_what_came_once_is_not_asked_for_again(service, tmp_path):
    config = config_of(service)
    first = fetch(config, tmp_path, ra=RA + np.arange(4))
    again = fetch(config, tmp_path, ra=RA + np.arange(4))
    assert len(service.requests) == 4
    np.testing.assert_array_equal(first.images, again.images)
    assert not list((tmp_path / "cache").rglob("*.tmp*"))


def test_a_damaged_cached_answer_is_asked_for_again(service, tmp_path):
    fetch(config_of(service), tmp_path)
    (cached,) = (tmp_path / "cache").rglob("*.fits")
    cached.write_bytes(cached.read_bytes()[:7000])
    assert fetch(config_of(service), tmp_path).reason == [""]
    assert len(service.requests) == 2


def test_a_bad_answer_is_never_cached(service, tmp_path):
    service.plan[key(RA)] = ["html"]
    fetch(config_of(service), tmp_path)
    assert not list((tmp_path / "cache").rglob("*.fits"))


@pytest.mark.parametrize(
    ("urls", "message"),
    [
        (("ftp://a/b",), "must start with http"),
        (("http://a/x", "https://a/y"), "must name distinct hosts"),
        ((), "at least 1"),
    ],
)
def test_wrong_hosts_are_refused(urls, message):
    with pytest.raises(ValueError, match=message):
        CutoutService.model_validate({"urls": urls})


def service_task(tmp_path, service, ra, **changes):
    tmp_path.mkdir(exist_ok=True)
    path = tmp_path / "list.csv"
    lines = [f"{100 + i},{value:.7f},2.0" for i, value in enumerate(ra)]
    path.write_text("id,ra,dec\n" + "\n".join(lines) + "\n")
    base = {
        "name": "cutouts",
        "targets": path,
        "output": tmp_path / "store",
        "source": "service",
        "bricks": {},
        "service": config_of(service).model_dump(),
        "quality": {},
        "split": {},
        "targets_per_shard": 4,
    }
    return CutoutsTask.model_validate({**base, **changes})


def make(task, tmp_path, progress=lambda done, total: None):
    return make_store(task, cache_dir=tmp_path / "cache", progress=progress)


def test_a_store_from_the_service_counts_what_was_not_served_and_what_is_not_fit(service, tmp_path):
    ra = RA + np.arange(10)
    for i, answer in ((1, "zeros"), (2, "nan"), (4, "404"), (6, "two bands")):
        service.plan[key(ra[i])] = [answer]
    steps = []
    task = service_task(tmp_path, service, ra, max_failed_fraction=0.3)
    summary = make(task, tmp_path, progress=lambda done, total: steps.append((done, total)))
    assert dict(summary.reasons) == {"": 6, "blank": 1, "nan": 1, "not_served": 1, "wrong_bands": 1}
    assert steps[-1] == (10, 10)
    index = pq.read_table(task.output / "index.parquet").to_pandas()
    good = index[index.cutout_ok]
    assert set(good.psfsize_source) == {"default"} and set(good.psfdepth_source) == {"invvar"}
    np.testing.assert_allclose(good.psfsize_z_arcsec, 1.11, rtol=1e-6)
    np.testing.assert_array_equal(good.centre_x_arcsec, 0.0)


def test_a_job_that_stopped_goes_on_without_asking_twice_and_ends_with_the_same_bytes(service, tmp_path):
    ra = RA + np.arange(10)
    whole = service_task(tmp_path / "whole", service, ra)
    make(whole, tmp_path / "whole")
    service.requests.clear()
    service.plan[key(ra[7])] = ["429 3600", "good"]
    task = service_task(tmp_path / "stopped", service, ra)
    with pytest.raises(ValueError, match="run the same command later"):
        make(task, tmp_path / "stopped")
    assert len(list(task.output.glob("shard-*.parquet"))) == 1
    make(task, tmp_path / "stopped")
    asked = [query["ra"] for query in service.requests]
    assert len(asked) == 11 and asked.count(key(ra[7])) == 2
    names = [path.name for path in sorted(whole.output.iterdir()) if path.suffix in (".tar", ".parquet", ".json")]
    assert len(names) == 3 * 2 + 3
    # job.json and targets are equal too: host and pace do not decide a pixel.
    assert all((task.output / name).read_bytes() == (whole.output / name).read_bytes() for name in names)


def test_targets_not_obtained_are_tried_again_when_asked(service, tmp_path):
    ra = RA + np.arange(6)
    service.plan[key(ra[2])] = ["500"]
    task = service_task(tmp_path, service, ra)
    assert make(task, tmp_path).reasons["server_error"] == 1
    service.plan[key(ra[2])] = ["good"]
    n_asked = len(service.requests)
    assert make(task, tmp_path).reasons["server_error"] == 1 and len(service.requests) == n_asked
    retry = task.model_copy(update={"retry_failed": True})
    assert make(retry, tmp_path).n_cutouts == 6 and len(service.requests) == n_asked + 1


def test_psfsize_of_the_list_is_used_where_the_service_has_none(service, tmp_path):
    ra = RA + np.arange(2)
    task = service_task(tmp_path, service, ra)
    table = pa.table({"id": [1, 2], "ra": ra, "dec": [2.0, 2.0], **{f"psfsize_{b}_arcsec": [1.5, 1.6] for b in "grz"}})
    path = tmp_path / "list.parquet"
    pq.write_table(table, path)
    task = task.model_copy(update={"targets": path})
    make(task, tmp_path)
    index = pq.read_table(task.output / "index.parquet").to_pandas()
    np.testing.assert_allclose(index.psfsize_g_arcsec, [1.5, 1.6], rtol=1e-6)
    assert set(index.psfsize_source) == {"list"}


def test_time_is_not_lost_between_cached_answers(service, tmp_path):
    """A pause of 0.2 s is between requests, not between targets."""
    ra = RA + np.arange(5)
    fetch(config_of(service), tmp_path, ra=ra)
    started = time.monotonic()
    fetch(config_of(service, min_interval_s=2.0), tmp_path, ra=ra)
    assert time.monotonic() - started < 2.0
