"""Numbers of threads hold in every thread of a process, and for libraries that come later."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from contextlib import suppress

import numpy as np  # its BLAS has a pool
import pytest
from threadpoolctl import ThreadpoolController, threadpool_info, threadpool_limits

from pipeline.config.paths import PROJECT
from pipeline.work.loading import loading
from pipeline.work.machine import cores, threads

COUNT = cores() + 1  # no pool has as many by itself


def pools() -> set[int]:
    return {pool["num_threads"] for pool in threadpool_info()}


def in_a_thread(work) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


@pytest.mark.parametrize("all_loaded", [False, True])
def test_limits_hold_in_a_thread_while_the_one_that_had_them_before_lives(all_loaded):
    seen = []

    def second():
        with threads(COUNT, all_loaded=all_loaded):
            seen.append(pools())

    def first():
        with threads(COUNT + 1, all_loaded=all_loaded):
            seen.append(pools())
        in_a_thread(second)

    before = threadpool_info()
    in_a_thread(first)
    assert seen == [{COUNT + 1}, {COUNT}]
    assert threadpool_info() == before


@pytest.mark.parametrize("how", ["a limit is set for good", "a block is open", "one's controller"])
def test_limits_hold_whatever_other_code_has_limited(how):
    """OpenBLAS's pool belongs to the thread that has limited it last, and others ask in vain."""
    seen, before = [], threadpool_info()

    def work():
        with threads(COUNT):
            seen.append((pools(), float(np.ones((2, 2)).sum())))

    if how == "a block is open":
        with threadpool_limits(1):
            in_a_thread(work)
            assert pools() == {1}
    else:
        controller = ThreadpoolController()
        limits = threadpool_limits(1) if how.startswith("a limit") else controller.limit(limits=1)
        in_a_thread(work)
        limits.restore_original_limits()
    assert seen == [({COUNT}, 4.0)]
    assert threadpool_info() == before


def test_threads_that_want_other_numbers_take_turns():
    seen, inside, leave = [], threading.Event(), threading.Event()

    def first():
        with threads(COUNT + 1):
            inside.set()
            leave.wait(20)
            seen.append(pools())

    def second():
        inside.wait(20)
        with threads(COUNT, all_loaded=True), threads(1):  # the same thread need not wait
            seen.append(pools())

    both = [threading.Thread(target=each) for each in (first, second)]
    for each in both:
        each.start()
    inside.wait(20)
    both[1].join(0.05)
    assert both[1].is_alive()
    leave.set()
    for each in both:
        each.join()
    assert seen == [{COUNT + 1}, {1}]


LATER = """
import os, sys
import numpy
from threadpoolctl import threadpool_info
from pipeline.work.loading import loading
from pipeline.work.machine import threads
count = int(sys.argv[1])
def pools():
    return {pool["filepath"]: pool["num_threads"] for pool in threadpool_info()}
environment = dict(os.environ)
with threads(count, all_loaded=True):
    assert dict(os.environ) == environment
    early = pools()
import scipy.linalg
with threads(count, all_loaded=True):
    late = pools()
assert set(early.values()) == set(late.values()) == {count}, (early, late)
assert len(late) > len(early), late
"""


def test_libraries_that_are_loaded_later_are_limited_too():
    done = subprocess.run(
        [sys.executable, "-c", LATER, str(COUNT)], cwd=PROJECT, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_while_libraries_are_loaded_python_looks_for_no_unused_objects():
    assert gc.isenabled()
    with loading():
        assert not gc.isenabled()
        with suppress(ImportError), loading():
            raise ImportError
        assert not gc.isenabled()  # until the outer one ends
    assert gc.isenabled()


def test_what_an_earlier_command_left_is_not_kept_where_nothing_is_loaded():
    frozen = gc.get_freeze_count()
    with loading():
        pass
    assert gc.get_freeze_count() == frozen
