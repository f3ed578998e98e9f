"""The simulator: the same bytes again, Kaggle's format, and figures like the real ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.data.recording import label_runs
from pipeline.data.simulator.format import write_series
from pipeline.data.simulator.head import head_of
from pipeline.data.simulator.options import LIMITS, SimulationConfig, refusal
from pipeline.data.simulator.plan import TRIAL_EVENTS, series_type, simulate_trials
from pipeline.data.simulator.simulate import simulate_series
from pipeline.errors import ConfigError
from pipeline.stages.context import Context
from pipeline.stages.flow import run
from tests import conftest
from tests.conftest import COMPETITION, EVENTS, make_config

pytestmark = pytest.mark.slow

CHANNELS = COMPETITION.channels
SMALL = SimulationConfig(seed=5, trials=4)
# Of SMALL, subject 1, series 7: every 4000th row of every sixth channel; each event's last label.
KEPT = [
    [-39, -49, -171, 83, 337, 10],
    [253, 113, 18, 191, 557, 310],
    [-15, -199, -162, 34, 302, -238],
    [293, 63, -38, 142, 400, -240],
    [-13, -69, -179, 43, 161, -290],
]
KEPT_STARTS = [13258, 13863, 13888, 14034, 15688, 15927]


@pytest.fixture(scope="module")
def recording():
    return simulate_series(SMALL, COMPETITION, 1, 7)


def test_the_same_series_comes_out_the_same_whatever_was_drawn_before(recording):
    np.random.default_rng(1).random(1000)
    simulate_series(SMALL, COMPETITION, 2, 1)
    again = simulate_series(
        SimulationConfig(seed=5, trials=4, subjects=1, series=7), COMPETITION, 1, 7
    )
    np.testing.assert_array_equal(again.signal, recording.signal)
    np.testing.assert_array_equal(again.events, recording.events)


@pytest.mark.parametrize(("seed", "subject", "series"), [(5, 1, 8), (5, 2, 7), (6, 1, 7)])
def test_another_series_subject_or_seed_is_another_recording(recording, seed, subject, series):
    other = simulate_series(SimulationConfig(seed=seed, trials=4), COMPETITION, subject, series)
    rows = min(len(other.signal), len(recording.signal))
    assert abs(np.corrcoef(other.signal[:rows, 13], recording.signal[:rows, 13])[0, 1]) < 0.6
    assert not np.array_equal(other.events[:rows], recording.events[:rows])


def test_the_files_are_kaggles_to_the_byte(recording, tmp_path):
    write_series(recording, tmp_path, labelled=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "subj1_series7_data.csv",
        "subj1_series7_events.csv",
    ]
    data = (tmp_path / "subj1_series7_data.csv").read_text(encoding="utf-8").split("\n")
    events = (tmp_path / "subj1_series7_events.csv").read_text(encoding="utf-8").split("\n")
    assert data[0] == "id," + ",".join(CHANNELS)
    assert events[0] == "id," + ",".join(EVENTS)
    assert data[-1] == events[-1] == ""
    assert len(data) == len(events) == len(recording.signal) + 2
    for row in (0, 1, len(recording.signal) - 1):
        values = ",".join(map(str, recording.signal[row]))
        assert data[row + 1] == f"subj1_series7_{row},{values}"
        labels = ",".join(map(str, recording.events[row]))
        assert events[row + 1] == f"subj1_series7_{row},{labels}"


def test_test_series_come_without_events(recording, tmp_path):
    write_series(recording, tmp_path, labelled=False)
    assert [p.name for p in tmp_path.iterdir()] == ["subj1_series7_data.csv"]


def test_labels_are_150_rows_wide_unless_runs_merge(recording):
    for column in range(len(EVENTS)):
        runs = label_runs(recording.events[:, column])
        assert 3 <= len(runs) <= 4
        assert all(stop - start == 150 for start, stop in runs) or len(runs) < 4


def test_smallest_and_odd_sizes():
    one = simulate_series(SimulationConfig(subjects=1, series=1, trials=1), COMPETITION, 1, 1)
    assert one.signal.dtype == np.int16
    assert one.signal.shape[1] == 32
    assert one.events.shape == (len(one.signal), 6)
    assert simulate_series(SimulationConfig(trials=1), COMPETITION, 12, 10).signal.shape[1] == 32


@pytest.fixture(scope="module")
def plans():
    config = SimulationConfig()
    return {(s, r): simulate_trials(config, s, r) for s in range(1, 13) for r in range(1, 9)}


def test_delays_are_those_of_the_real_trials(plans):
    """Quantiles in ms over all trials against those of the 3,120 real ones, within 25 %."""
    centres = np.concatenate([plan.centres for plan in plans.values()])
    assert abs(len(centres) - 3120) < 120
    delay = 1000 * np.diff(centres, axis=1)
    real = {
        0: (784, 1012, 1200),  # HandStart to FirstDigitTouch
        1: (62, 100, 160),  # to BothStartLoadPhase
        2: (200, 308, 444),  # to LiftOff
        3: (3058, 3224, 3400),  # to Replace
        4: (142, 232, 326),  # to BothReleased
    }
    for column, expected in real.items():
        got = np.nanpercentile(delay[:, column], [25, 50, 75])
        np.testing.assert_allclose(got, expected, rtol=0.25, err_msg=EVENTS[column + 1])
    medians = []
    for subject in range(1, 13):
        mine = np.concatenate([plans[subject, series].centres for series in range(1, 9)])
        medians.append(np.median(mine[:, 1] - mine[:, 0]))
    assert max(medians) / min(medians) > 1.4  # subjects differ: 0.71 to 1.31 s


def test_series_have_their_types_and_lengths(plans):
    kinds = {kind: [] for kind in ("short", "long", "mixed")}
    for (subject, series), plan in plans.items():
        assert plan.kind == series_type(subject, series)
        assert plan.kind == "short" or series < 7
        kinds[plan.kind].append((len(plan.centres), plan.seconds * 500))
        assert 2.2 < plan.centres[0, 0] < 7
        assert 2 < plan.seconds - np.nanmax(plan.centres) < 3
    for kind, (trials, rows) in {
        "short": (34, 134_000), "long": (34, 257_000), "mixed": (28, 214_000)
    }.items():  # fmt: skip
        assert {n for n, _ in kinds[kind]} == {trials}
        assert np.median([r for _, r in kinds[kind]]) == pytest.approx(rows, rel=0.08)


def test_amplitudes_are_of_the_real_size():
    recordings = [
        simulate_series(SMALL, COMPETITION, s, r).signal.astype(float)
        for s in (1, 4)
        for r in (1, 7)
    ]
    everything = np.concatenate(recordings)
    assert 150 < everything.std() < 600  # the real files: 300
    within = np.median([x[i : i + 150].std(axis=0).mean() for x in recordings
                        for i in range(0, len(x) - 150, 997)])  # fmt: skip
    assert 40 < within < 160  # the real files: 65-115
    frontal, vertex = everything[:, 0].std(), everything[:, CHANNELS.index("FC2")].std()
    assert frontal > 1.5 * vertex
    centred = recordings[1] - recordings[1].mean(axis=0)
    correlation = np.corrcoef(np.diff(centred, axis=0)[::3].T)
    neighbours = correlation[CHANNELS.index("O1"), CHANNELS.index("Oz")]
    far = correlation[CHANNELS.index("O1"), CHANNELS.index("F8")]
    assert neighbours > far


def test_the_base_rate_is_the_real_one(plans):
    rows = sum(plan.seconds for plan in plans.values()) * 500
    events = sum(np.isfinite(plan.centres).sum() for plan in plans.values()) / 6 * 150
    assert events / rows == pytest.approx(0.026, rel=0.08)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("seed", -1), ("subjects", 0), ("subjects", 13), ("series", 11), ("trials", -1),
        ("snr", -0.1), ("snr", float("inf")), ("artefacts", float("nan")),
    ],
)  # fmt: skip
def test_impossible_options_name_the_key(option, value):
    with pytest.raises(ConfigError, match=rf"^dataset\.simulation\.{option}={value}: must be \d"):
        SimulationConfig(**{option: value})


@pytest.mark.parametrize(
    ("option", "limit", "step"),
    [(o, limit, 2 * side - 1) for o, both in LIMITS.items() for side, limit in enumerate(both)
     if limit is not None],
)  # fmt: skip
def test_the_configuration_is_checked_by_the_same_limits(tmp_path, option, limit, step):
    assert not refusal(option, limit)
    beyond = limit + step
    with pytest.raises(ConfigError, match=rf"^dataset\.{option}={beyond}(\.0)?: must be \d"):
        make_config(tmp_path, "dataset=simulated", f"dataset.{option}={beyond}")


@pytest.mark.parametrize(("subject", "series"), [(0, 1), (13, 1), (1, 0), (1, 11)])
def test_there_are_only_so_many_recordings(subject, series):
    with pytest.raises(
        ConfigError, match=r"^dataset\..*: (subject|series) \d+ cannot be simulated"
    ):
        simulate_series(SMALL, COMPETITION, subject, series)


@pytest.mark.parametrize(
    ("override", "key"),
    [("dataset.subjects=[0]", "subjects"), ("dataset.train_series=[0,1]", "train_series")],
)
def test_numbers_below_one_are_refused_before_work(tmp_path, override, key):
    with pytest.raises(ConfigError, match=rf"^dataset\.{key}="):
        make_config(tmp_path, "dataset=simulated", override)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"channels": ("Cz", "Nose", "EMG1")}, r"dataset\.channels: .*colin27_1005.* Nose, EMG1;"),
        ({"channels": ("FCz",)}, r"dataset\.channels: FCz alone"),
        ({"events": ("LiftOff", "Blink")}, r"dataset\.events: .*no timing for Blink; it knows"),
        ({"montage": "none_such"}, r"dataset\.montage=none_such: MNE has no"),
        ({"montage": "biosemi64", "channels": ("Cz",)}, r"dataset\.montage=biosemi64: .* PO9,"),
        ({"rate": 49.0}, r"dataset\.rate=49: must be 50 to 5000"),
    ],
)  # fmt: skip
def test_a_data_set_that_cannot_be_simulated_is_one_clear_error(change, message):
    with pytest.raises(ConfigError, match=f"^{message}"):
        simulate_series(SMALL, replace(COMPETITION, **change), 1, 1)


def test_a_data_set_may_have_other_channels_and_fewer_events():
    about = replace(COMPETITION, channels=("CPz", "FP1", "FCz"), events=("Replace", "HandStart"))
    made = simulate_series(SMALL, about, 1, 7)
    whole = simulate_series(SMALL, COMPETITION, 1, 7)
    assert made.about == about
    assert made.signal.shape == (len(whole.signal), 3)
    places = [EVENTS.index("Replace"), EVENTS.index("HandStart")]
    np.testing.assert_array_equal(made.events, whole.events[:, places])
    own, usual = made.signal[:, 1].std(), whole.signal[:, CHANNELS.index("Fp1")].std()
    assert own == pytest.approx(usual, rel=0.7)  # the same forehead, whose drifts are other draws


def test_the_head_of_a_few_channels_is_the_head_of_all():
    """Three channels in a plane with the centre do not tell where the centre is."""
    few = head_of(replace(COMPETITION, channels=("C3", "Cz", "C4")), ["Oz"])
    whole = head_of(COMPETITION, ["Oz"])
    for site in ("C3", "Cz", "Oz", "Fp1"):
        np.testing.assert_allclose(few.direction(site), whole.direction(site), atol=0.1)


def test_the_plan_knows_the_competitions_events():
    assert TRIAL_EVENTS == EVENTS


def test_snr_and_artefacts_reach_the_recording(tmp_path):
    def drawn(*more):
        small = [*conftest.SMALL, "dataset=simulated", "dataset.subjects=[1]", *more]
        context = Context(make_config(tmp_path, *small, "stage=simulate"))
        run(context.config, say=lambda line: None)
        path = context.raw / "train" / "subj1_series1_data.csv"
        return np.loadtxt(path, delimiter=",", skiprows=1, usecols=range(1, 33))

    usual, weak = drawn(), drawn("dataset.simulation.snr=0")
    assert np.abs(usual - weak).max() > 50
    clean, restless = (drawn(f"dataset.simulation.artefacts={size}") for size in (0, 20))
    assert 0 < np.abs(usual - clean).mean() < 0.2 * np.abs(restless - clean).mean()


def test_the_bytes_of_a_seed_stay_the_same():
    """Some integers of one series; another processor may round one of them to its neighbour."""
    made = simulate_series(SMALL, COMPETITION, 1, 7)
    assert made.signal.shape == (17252, 32)
    np.testing.assert_allclose(made.signal[::4000, ::6], KEPT, atol=1)
    starts = [label_runs(made.events[:, column])[-1][0] for column in range(len(EVENTS))]
    assert starts == KEPT_STARTS


def test_any_number_of_workers_writes_the_same_bytes(tmp_path):
    written = []
    for workers in (1, 2):
        small = [*conftest.SMALL, "dataset=simulated", "stage=simulate", f"workers={workers}"]
        context = Context(conftest.make_config(tmp_path / str(workers), *small))
        run(context.config, say=lambda line: None)
        written.append({path.name: path.read_bytes() for path in context.raw.glob("*/*.csv")})
    assert len(written[0]) == 10
    assert written[0] == written[1]
