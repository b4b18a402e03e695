"""The example catalogue of real galaxies, built into a bank once for all tests of this folder."""

import os
from pathlib import Path

import pytest

from dhs.config.source import BankBuild, CosmosSource
from dhs.source.cosmos import build_cosmos_bank
from tests.source.bank_families import parametric, seeds_banks


@pytest.fixture(scope="session")
def catalog_dir():
    shared = Path(os.environ.get("DHS_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))
    folder = shared / "cosmos_23.5_example"
    if not folder.is_dir():
        pytest.skip(f"no example catalogue at {folder}; set DHS_SHARED_DATA")
    return folder


@pytest.fixture(scope="session")
def example_bank(catalog_dir, tmp_path_factory):
    """Configuration and summary of a bank of the 100 example galaxies."""
    bank = tmp_path_factory.mktemp("bank") / "example.h5"
    config = CosmosSource(name="cosmos", bank=bank, catalog_dir=catalog_dir, build=BankBuild())
    return config, build_cosmos_bank(config)


@pytest.fixture(scope="session")
def noise_banks(catalog_dir):
    """(60, 96, 96) images by name: the seeds' recipe, bright and faint, and pure noise."""
    return seeds_banks(catalog_dir, n=60)


@pytest.fixture(scope="session")
def clumpy_images():
    return parametric("clumpy", n=60)
