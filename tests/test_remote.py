"""Banks, stores and files behind a URL: fetched once, whole or not at all, again when they change."""

import hashlib
import multiprocessing
import os
import shutil
import signal
import threading
import time

import fsspec
import numpy as np
import pytest
from fsspec.implementations.local import LocalFileSystem

from dhs.config.cli import compose_job
from dhs.config.root import InjectRoot
from dhs.config.sky import StoreSky
from dhs.remote import local_file, local_folder
from dhs.sky.build import load_sky
from dhs.sky.cutout_job import make_store
from dhs.sky.store import load_store_sky
from dhs.source.build import build_source
from tests.bucket import BUCKET, bucket, upload
from tests.sky.store_files import make_task, nothing, write_bricks
from tests.source.bank_data import bank_config, sersic_contents, write_contents


@pytest.fixture(scope="module")
def s3():
    with bucket() as files:
        yield files


class Counted(LocalFileSystem):
    """Local files that count what is fetched, and can be made to lie or to be slow."""

    protocol = "counted"
    fetched: list[str] = []
    cut_bytes = 0
    flips = False
    seconds = 0.0

    def info(self, path, **options):
        found = super().info(path, **options)
        if found["type"] == "file":
            with open(found["name"], "rb") as file:
                found["ETag"] = f'"{hashlib.file_digest(file, "md5").hexdigest()}"'
        return found

    def get_file(self, path1, path2, callback=None, **options):
        type(self).fetched.append(os.path.basename(path1))
        time.sleep(self.seconds)
        shutil.copyfile(path1, path2)
        if self.cut_bytes:
            os.truncate(path2, os.path.getsize(path2) - self.cut_bytes)
        if self.flips:
            with open(path2, "r+b") as file:
                first = file.read(1)[0]
                file.seek(0)
                file.write(bytes([first ^ 1]))


@pytest.fixture
def counted():
    fsspec.register_implementation("counted", Counted, clobber=True)
    Counted.fetched, Counted.cut_bytes, Counted.flips, Counted.seconds = [], 0, False, 0.0
    return Counted


def test_a_bank_in_a_bucket_is_the_bank(s3, tmp_path):
    write_contents(tmp_path / "bank.h5", sersic_contents(12))
    url = upload(s3, tmp_path / "bank.h5", f"{BUCKET}/banks/bank.h5")
    near = build_source(bank_config(tmp_path / "bank.h5"), cache_dir=tmp_path / "a")
    far = build_source(bank_config(url), cache_dir=tmp_path / "b")
    everything = np.arange(12)
    assert np.array_equal(near.templates(everything).each(), far.templates(everything).each())
    config = compose_job("inject", ["source=cosmos", f"source.bank={url}"], schema=InjectRoot)
    assert config.source.bank == url == config.model_dump(mode="json")["source"]["bank"]


def test_a_store_in_a_bucket_is_the_store(s3, tmp_path):
    write_bricks(tmp_path / "coadd")
    make_store(make_task(tmp_path, tmp_path / "coadd"), cache_dir=tmp_path, progress=nothing)
    url = upload(s3, tmp_path / "store", f"{BUCKET}/store")
    near = load_store_sky(StoreSky.model_validate({"name": "store", "path": tmp_path / "store"}))
    sky = compose_job("inject", ["sky=store", f"sky.path={url}"], schema=InjectRoot).sky
    far = load_sky(sky, cache_dir=tmp_path / "cache")
    assert np.array_equal(near.target_id, far.target_id)
    assert np.array(near.images[:]).tobytes() == np.array(far.images[:]).tobytes()


def test_a_changed_object_of_the_same_length_is_fetched_again(s3, tmp_path):
    url = f"{BUCKET}/changing"
    s3.pipe(url, b"first content")
    assert local_file(url, cache_dir=tmp_path, key="k").read_bytes() == b"first content"
    s3.pipe(url, b"other content")
    s3.invalidate_cache()
    assert local_file(url, cache_dir=tmp_path, key="k").read_bytes() == b"other content"


def test_what_is_here_is_not_fetched_again_and_what_is_missing_is(counted, tmp_path, caplog):
    folder = tmp_path / "remote"
    (folder / "deep").mkdir(parents=True)
    for name in ("store.json", "a.tar", "deep/b.tar"):
        (folder / name).write_text(name * 100)
    (folder / ".half.tmp").write_text("nobody's")

    def fetch():
        counted.fetched = []
        url = f"counted://{folder}"
        return local_folder(url, cache_dir=tmp_path / "cache", key="sky.path", must_hold="store.json"), counted.fetched

    with caplog.at_level("INFO"):
        copy, fetched = fetch()
    assert sorted(fetched) == ["a.tar", "b.tar", "store.json"]
    assert (copy / "deep" / "b.tar").read_text() == "deep/b.tar" * 100
    assert "fetched counted://" in caplog.text
    assert fetch()[1] == []
    (copy / "a.tar").write_text("cut short")
    assert fetch()[1] == ["a.tar"]
    (folder / "deep" / "b.tar").write_text("DEEP/B.TAR" * 100)
    os.utime(folder / "deep" / "b.tar", (1, 1))
    assert fetch()[1] == ["b.tar"]
    next((tmp_path / "cache" / "remote").glob("*.json")).write_text("{")
    assert sorted(fetch()[1]) == ["a.tar", "b.tar", "store.json"]
    assert (copy / "a.tar").read_text() == "a.tar" * 100


def test_several_processes_fetch_a_file_once(counted, tmp_path):
    (tmp_path / "bank.h5").write_bytes(b"x" * 1000)
    counted.seconds = 0.3
    threads = [
        threading.Thread(
            target=local_file, args=(f"counted://{tmp_path}/bank.h5",), kwargs=dict(cache_dir=tmp_path, key="k")
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counted.fetched == ["bank.h5"]


def _fetch_slowly(folder, cache):
    fsspec.register_implementation("counted", Counted, clobber=True)
    Counted.seconds = 0.4
    local_folder(f"counted://{folder}", cache_dir=cache, key="k", must_hold="store.json")


def test_a_killed_fetch_leaves_no_half_file_and_the_next_goes_on(counted, tmp_path):
    folder = tmp_path / "remote"
    folder.mkdir()
    for name in ("a.tar", "b.tar", "c.tar", "store.json"):
        (folder / name).write_text(name)
    process = multiprocessing.get_context("fork").Process(target=_fetch_slowly, args=(folder, tmp_path / "cache"))
    process.start()
    deadline = time.monotonic() + 20
    while not list((tmp_path / "cache").glob("remote/*/a.tar")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    copy = local_folder(f"counted://{folder}", cache_dir=tmp_path / "cache", key="k", must_hold="store.json")
    assert "a.tar" not in counted.fetched and "store.json" in counted.fetched
    assert {path.name: path.read_text() for path in copy.glob("*")} == {
        name: name for name in ("a.tar", "b.tar", "c.tar", "store.json")
    }


def test_a_short_answer_is_no_file(counted, tmp_path):
    (tmp_path / "bank.h5").write_bytes(b"x" * 1000)
    counted.cut_bytes = 10
    with pytest.raises(ValueError, match=r"990 bytes came, the listing says 1000; run it again"):
        local_file(f"counted://{tmp_path}/bank.h5", cache_dir=tmp_path / "cache", key="source.bank")
    assert not [path for path in (tmp_path / "cache").rglob("*bank.h5*") if path.is_file() and path.stat().st_size]


def test_a_flipped_byte_on_the_way_is_no_file(counted, tmp_path):
    (tmp_path / "bank.h5").write_bytes(b"x" * 1000)
    counted.flips = True
    with pytest.raises(ValueError, match=r"what came has not the ETag's MD5 [0-9a-f]{32}; run it again"):
        local_file(f"counted://{tmp_path}/bank.h5", cache_dir=tmp_path / "cache", key="source.bank")
    counted.flips = False
    copy = local_file(f"counted://{tmp_path}/bank.h5", cache_dir=tmp_path / "cache", key="source.bank")
    assert copy.read_bytes() == b"x" * 1000


def test_what_cannot_be_fetched_is_one_line_that_names_the_setting(s3, tmp_path, monkeypatch):
    s3.pipe(f"{BUCKET}/half/index.parquet", b"x")
    for fetch, url, message in (
        (local_file, f"{BUCKET}/none.h5", r"source\.bank = s3://dhs/none\.h5: no such file or folder"),
        (local_file, "s3://no-such-bucket/none.h5", r"source\.bank = s3://no-such-bucket/none\.h5: "),
        (local_file, "nosuch://x", r"source\.bank = nosuch://x: .*[Pp]rotocol"),
        (local_folder, f"{BUCKET}/half", r"source\.bank = s3://dhs/half: no store\.json there; give a finished one"),
        (local_folder, f"{BUCKET}/empty", r"source\.bank = s3://dhs/empty: no store\.json there"),
    ):
        extra = {"must_hold": "store.json"} if fetch is local_folder else {}
        with pytest.raises(ValueError, match=message) as caught:
            fetch(url, cache_dir=tmp_path, key="source.bank", **extra)
        assert "\n" not in str(caught.value)
