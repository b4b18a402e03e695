"""Batches in threads: every row once, errors raised, alive after a fork."""

import multiprocessing

import numpy as np
import pytest
import torch

from dhs.lens.threads import in_threads


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def times_worked_on(n: int) -> np.ndarray:
    counts = np.zeros(n, int)

    def work(part: slice) -> None:
        counts[part] += 1

    in_threads(work, n)
    return counts


@pytest.mark.parametrize("n", [0, 1, 15, 16, 24, 25, 1000])
def test_every_row_is_worked_on_once(three_threads, n):
    assert (times_worked_on(n) == 1).all()


@pytest.mark.parametrize("fails_at", [0, 99])
def test_an_error_in_any_part_is_raised_after_all_parts_have_ended(three_threads, fails_at):
    ended = []

    def work(part: slice) -> None:
        ended.append(part)
        if part.start <= fails_at < part.stop:
            raise ArithmeticError("planted")

    with pytest.raises(ArithmeticError, match="planted"):
        in_threads(work, 100)
    assert len(ended) == 3


def test_a_forked_child_has_threads_of_its_own(three_threads):
    times_worked_on(100)  # the parent's helpers are alive now
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert (pool.apply_async(times_worked_on, (100,)).get(timeout=30) == 1).all()
