"""Schema of `evaluate.py task=ablation` and `task=compare`: differences between trained finders."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from dhs.config.base import Section


class _Comparison(Section):
    resamples: Annotated[int, Field(ge=200, le=1_000_000)] = Field(10_000, description="of the paired bootstrap")
    baseline: str | None = Field(None, description="arm that the others are compared with; null: every pair")


class AblationTask(_Comparison):
    """Turn a sweep into a table with intervals: all runs score common test sets, seeds are a variance of their own."""

    name: Literal["ablation"]
    sweep: Path | None = Field(None, description="folder whose sub-folders are the runs, finished by train.py -m")
    output: Path | None = Field(None, description="null: <sweep>/ablation")
    test_on: tuple[str, ...] = Field(
        (), description="labels of the arms whose test sets are used; empty: every distinct test set of the sweep"
    )
    test_seed: Annotated[int, Field(ge=0, lt=2**31)] = Field(
        1_000_003, description="of the common test sets; another than that of any run"
    )
    n_test_positives: Annotated[int, Field(ge=1)] | None = Field(None, description="null: as the runs have it")


class CompareTask(_Comparison):
    """Compare finders from their score tables alone: paired differences, McNemar, Holm."""

    name: Literal["compare"]
    runs: tuple[Path, ...] = Field(
        (), description="two or more run directories (their evaluate/scores/{val,test}.parquet), of one test set"
    )
    labels: tuple[str, ...] = Field((), description="what the runs are called; runs of one label are seeds of one arm")
    output: Path = Field(description="folder of compare.json, .csv, .md and .html")
