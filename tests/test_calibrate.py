"""The figures that the simulator is held against: the real ones recomputed, and sane answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from pipeline.bench.calibrate import order_of, table_of
from pipeline.bench.event_windows import load_windows
from pipeline.bench.methods import COMPARED
from pipeline.bench.real_figures import METHODS, REAL
from pipeline.bench.recording_figures import (
    Windows,
    amplitude_figures,
    check_names,
    course_figures,
    covariance_figures,
    cut_windows,
    discrimination_figures,
    trial_figures,
    window_figures,
)
from pipeline.config.paths import PROJECT
from pipeline.data.simulator.options import SimulationConfig
from pipeline.data.simulator.plan import TRIAL_EVENTS, SimulatedTrials, simulate_trials
from pipeline.data.simulator.simulate import simulate_series
from pipeline.errors import ConfigError
from tests.conftest import COMPETITION

pytestmark = pytest.mark.slow

REAL_WINDOWS = PROJECT.parent / "shared" / "data" / "gal_windows"
REAL_TRIALS = REAL_WINDOWS.with_name("gal_trials.csv")
EVENTS = list(TRIAL_EVENTS)


def noise(scale=1.0, seed=0):
    """Windows of two subjects and six series that hold nothing but white noise."""
    random = np.random.default_rng(seed)
    where = np.array([(s, r, e, 1000 * k) for s in (1, 2) for r in range(1, 7)
                      for e in range(6) for k in range(8)])  # fmt: skip
    signal = random.normal(0, scale, (len(where), 150, 32)).astype(np.float32)
    return Windows(signal, *where.T, about=COMPETITION)


def test_the_real_figures_are_what_these_functions_compute_from_the_real_windows():
    files = sorted(REAL_WINDOWS.glob("*.npz"))
    if not files:
        pytest.skip(f"the real event windows are not there: {REAL_WINDOWS}")
    figures = window_figures(load_windows(files[0], COMPETITION))
    checked = {name: value for name, value in figures.items() if name in REAL}
    assert len(checked) > 40
    for name, value in checked.items():
        assert value == pytest.approx(REAL[name].value, rel=0.02, abs=0.006), name


def test_the_real_courses_are_what_this_function_computes_from_the_real_event_times():
    if not REAL_TRIALS.exists():
        pytest.skip(f"the real event times are not there: {REAL_TRIALS}")
    plans = {
        key: SimulatedTrials(str(own.series_type.iloc[0]), own[EVENTS].to_numpy() / 500, 0)
        for key, own in pd.read_csv(REAL_TRIALS).groupby(["subject", "series"])
    }
    for name, value in course_figures(plans).items():
        assert value == pytest.approx(REAL[name].value, abs=0.0006), name


def test_trials_in_any_order_have_no_course():
    random = np.random.default_rng(0)
    plans = {}
    for series in range(200):
        steps = np.exp(0.2 * random.standard_normal((34, 6)))
        plans[1, series] = SimulatedTrials("short", np.cumsum(steps).reshape(34, 6), 0)
    figures = course_figures(plans)
    assert figures["pause, log SD within series"] == pytest.approx(0.2, rel=0.05)
    for name, value in figures.items():
        if name.endswith("autocorrelation"):
            assert value == pytest.approx(-0.03, abs=0.03)
        elif name.endswith("line over the series"):
            assert value == pytest.approx(0.03, abs=0.01)


def test_figures_scale_with_the_signal():
    small, large = amplitude_figures(noise(1.0)), amplitude_figures(noise(10.0))
    for name in ("SD", "SD within windows, hands", "99.9 % of |x|, median subject"):
        assert large[name] == pytest.approx(10 * small[name], rel=1e-3)


def test_white_noise_has_no_covariance_and_tells_no_events_apart():
    figures = covariance_figures(noise()) | discrimination_figures(noise())
    assert figures["eigenvalue 1 within windows"] < 0.05
    assert abs(figures["correlation within windows, C3 CP5"]) < 0.05
    assert figures["accuracy of LDA, one mean"] == pytest.approx(0.2, abs=0.12)


def test_windows_are_the_labelled_rows():
    recording = simulate_series(SimulationConfig(seed=3, trials=3), COMPETITION, 2, 7)
    windows = cut_windows(recording)
    for cut, event, start in zip(windows.signal, windows.event, windows.start, strict=True):
        assert recording.events[start : start + 150, event].all()
        np.testing.assert_array_equal(cut, recording.signal[start : start + 150])


def test_the_plans_keep_to_the_real_delays():
    config = SimulationConfig()
    plans = {(s, r): simulate_trials(config, s, r) for s in range(1, 13) for r in range(1, 9)}
    figures = trial_figures(plans, COMPETITION.rate) | course_figures(plans)
    assert set(figures) <= set(REAL)
    missed = [name for name, value in figures.items() if not REAL[name].allows(value)]
    assert len(missed) <= 0.15 * len(figures), missed


def test_a_table_says_what_is_off():
    text = table_of({"SD": 304.6, "mean": 1000.0})
    assert "| SD | 304.6 | 304.6 | x 1.25 | yes |" in text
    assert "| mean | 129.5 | 1000 | x 1.5 | **no** |" in text
    assert "1 of 2 within tolerance" in text
    text = table_of({"99.9 % of |x|, median subject": 1750.0})
    assert r"| 99.9 % of \|x\|, median subject | 1750 |" in text


def test_methods_are_ranked_as_on_the_real_recordings_or_it_is_said():
    assert order_of({"AUC of FBL_LDA": 0.9, "AUC of the CNN": 0.91}).endswith("the same.")
    assert "simulated FBL_LDA, CNN" in order_of({"AUC of FBL_LDA": 0.9, "AUC of the CNN": 0.89})


def test_the_published_methods_are_recipes_with_a_real_figure():
    assert set(METHODS) <= set(COMPARED)
    assert set(METHODS.values()) <= set(REAL)


@pytest.mark.parametrize(("key", "missing"), [("channels", "FC2"), ("events", "LiftOff")])
def test_a_data_set_without_what_the_figures_need_is_refused(key, missing):
    check_names(COMPETITION)
    rest = tuple(name for name in getattr(COMPETITION, key) if name != missing)
    with pytest.raises(ConfigError, match=rf"^dataset\.{key}: the comparison needs {missing}$"):
        check_names(replace(COMPETITION, **{key: rest}))
