"""Signals are noted for the job to save, and then passed on to whoever handled them before."""

import os
import signal

import pytest

from dhs.sweep.stop import StopFlag


@pytest.fixture(autouse=True)
def restored():
    before = {each: signal.getsignal(each) for each in (signal.SIGUSR2, signal.SIGHUP)}
    yield
    for each, handler in before.items():
        signal.signal(each, handler)


def test_submitit_puts_the_job_back_after_it_has_saved():
    order = []
    signal.signal(signal.SIGUSR2, lambda signum, frame: order.append("requeue"))
    with StopFlag().watching() as flag:
        os.kill(os.getpid(), signal.SIGUSR2)
        order.append("saved")
    assert order == ["saved", "requeue"]
    assert flag.signum == signal.SIGUSR2 and flag.exit_code == 140


def test_what_nohup_ignores_stays_ignored():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with StopFlag().watching() as flag:
        os.kill(os.getpid(), signal.SIGHUP)
    assert flag.signum is None


def test_a_second_ctrl_c_is_counted():
    with StopFlag().watching() as flag:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
    assert flag.count == 2
