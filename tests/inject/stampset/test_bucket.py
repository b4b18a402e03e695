"""Manifest and set in a bucket: moto's server on the loopback speaks S3."""

import json
import time

import fsspec
import pytest

from dhs.inject.stampset import claim
from dhs.inject.stampset.job import make_stamps
from dhs.inject.stampset.place import Place
from tests.inject.stampset.files import digests

pytest.importorskip("s3fs")
moto_server = pytest.importorskip("moto.server")


def silent(state):
    """No report."""


@pytest.fixture(scope="module")
def bucket():
    """`s3://stamps` on the loopback, found through the environment as any S3 endpoint is."""
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patched.setenv("AWS_ACCESS_KEY_ID", "testing")
        patched.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        patched.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patched.setattr(fsspec.config, "conf", {})
        fsspec.filesystem("s3").clear_instance_cache()
        fsspec.filesystem("s3", skip_instance_cache=True).mkdir("stamps")
        yield "s3://stamps"
    fsspec.filesystem("s3").clear_instance_cache()
    server.stop()


@pytest.fixture(scope="module")
def remote_manifest(bucket, manifest):
    url = f"{bucket}/manifest.parquet"
    with fsspec.open(url, "wb") as file:
        file.write(manifest.read_bytes())
    return url


def test_a_set_in_a_bucket_is_that_on_a_disk_byte_for_byte_and_restarts(
    bucket, remote_manifest, stamps_config, tmp_path, caplog, monkeypatch
):
    local = stamps_config(tmp_path / "set")
    make_stamps(local, report=silent)
    remote = stamps_config(f"{bucket}/set", of=remote_manifest)
    make_stamps(remote, report=silent)
    files = fsspec.filesystem("s3", skip_instance_cache=True)
    names = sorted(name.removeprefix("stamps/set/") for name in files.find("stamps/set"))
    assert names == sorted(str(p.relative_to(tmp_path / "set")) for p in (tmp_path / "set").rglob("*.[jp]*"))
    for name in digests(tmp_path / "set"):
        if name not in ("totals", "job"):
            assert files.cat_file(f"stamps/set/{name}") == (tmp_path / "set" / name).read_bytes()
    files.rm_file("stamps/set/_ledger/part-00003.json")
    content = bytearray(files.cat_file("stamps/set/split=test/part-00007.parquet"))
    content[1000] ^= 1
    files.pipe_file("stamps/set/split=test/part-00007.parquet", bytes(content))
    monkeypatch.setattr("dhs.inject.stampset.ledger._LOG.propagate", True)
    made = []
    make_stamps(stamps_config(f"{bucket}/set", "task.verify=true", of=remote_manifest), report=made.append)
    assert made[-1].n_to_do == 8 + 8 and "s3://stamps/set/split=test/part-00007.parquet is damaged" in caplog.text
    files.invalidate_cache()
    wanted = (tmp_path / "set" / "split=test" / "part-00007.parquet").read_bytes()
    assert files.cat_file("stamps/set/split=test/part-00007.parquet") == wanted
    assert not files.exists("stamps/set/_claim.json")


def test_a_living_job_in_the_bucket_refuses_a_second(bucket, stamps_config):
    place = Place(f"{bucket}/claimed")
    with (
        claim.claimed(place, key="task.output", expires_s=60),
        pytest.raises(ValueError, match=r"task.output = s3://stamps/claimed: another job is at work there"),
    ):
        make_stamps(stamps_config(f"{bucket}/claimed"), report=silent)
    assert not place.exists("_claim.json")


@pytest.mark.parametrize(
    "held", [{"time": time.time() - 1000, "machine": "elsewhere"}, {"time": time.time(), "machine": claim._machine()}]
)
def test_the_claim_of_a_dead_job_is_taken_over(bucket, held):
    """Dead: silent for longer than its expiry; or a process of this machine that is gone."""
    place = Place(f"{bucket}/dead")
    place.write_json("_claim.json", held | {"owner": "x", "process": 2**22 + 1, "expires_s": 60})
    with claim.claimed(place, key="task.output", expires_s=60) as still_ours:
        still_ours()


def test_of_two_claims_at_one_moment_one_is_refused(bucket, monkeypatch):
    place = Place(f"{bucket}/race")
    second = claim._Claim(place, key="task.output", expires_s=60)
    looks = iter([None])  # it looked before the first had written; later looks find what is there
    real = second._read
    second._read = lambda: next(looks) if looks.__length_hint__() else real()
    with (
        claim.claimed(place, key="task.output", expires_s=60),
        pytest.raises(ValueError, match="another job began there at this moment"),
    ):
        second.take()
    # The first kept its claim to the end and gave it back: an unconditional write would have replaced it.
    assert not place.exists("_claim.json")


def test_a_job_whose_claim_was_taken_over_stops(bucket):
    place = Place(f"{bucket}/lost")
    with claim.claimed(place, key="task.output", expires_s=0.6) as still_ours:
        still_ours()
        other = {"owner": "other", "machine": "elsewhere", "process": 1, "time": time.time(), "expires_s": 60}
        place.write_json("_claim.json", other)
        time.sleep(0.5)
        with pytest.raises(ValueError, match=r"claim was taken over by another job; finished parts are kept"):
            still_ours()
    assert json.loads(place.read("_claim.json"))["owner"] == "other"


@pytest.mark.parametrize("setting", ["output", "manifest"])
def test_a_bucket_that_is_not_there_is_one_line(bucket, manifest, stamps_config, tmp_path, setting):
    nowhere = "s3://no-such-bucket/x"
    config = stamps_config(*((nowhere,) if setting == "output" else (tmp_path / "set",)), of=manifest)
    if setting == "manifest":
        config = stamps_config(tmp_path / "set", of=nowhere)
    with pytest.raises(ValueError, match=rf"task.{setting} = {nowhere}") as error:
        make_stamps(config, report=silent)
    assert "\n" not in str(error.value)
