"""The command that measures the whole competition: its arguments, tables, memory and cost model."""

from __future__ import annotations

import os
import re
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joblib.externals.loky import get_reusable_executor

from pipeline.bench import cost_model, full, measured_runs, process_tree
from pipeline.bench import read as bench_read
from pipeline.bench.cost_model import CostModel, Line, Size
from pipeline.bench.document import read_between
from pipeline.bench.measured_runs import MEMBERS, WHOLE, Measure, Run
from pipeline.errors import ConfigError, PipelineError


def made(recipe: str, subjects: int, workers: int = 2, members: int = 1) -> Run:
    """A run that keeps to the law of the cost model."""
    run = Run(recipe, subjects, workers, 1_750_000 * subjects, "2026-01-02")
    rows = run.rows / 1e6
    law = {
        "ingest": (10 * subjects, 1.0 + 3.0 * rows / workers, 0.3 + 0.01 * rows, 0.2),
        f"{MEMBERS}folds": (subjects, 2 + 5 * rows * members / min(workers, subjects), 0.4, 0.5),
        "evaluate": (1, 0.5 + 0.2 * rows, 0.3 + 0.1 * rows, 0.0),
    }
    for stage, (tasks, seconds, root, child) in law.items():
        tree = root + min(workers, tasks) * child
        run.add(Measure(stage, tasks, seconds, tree, root, child))
    peaks = [max(getattr(m, k) for m in run.stages.values()) for k in ("tree", "root", "child")]
    run.add(Measure(WHOLE, 0, sum(m.seconds for m in run.stages.values()), *peaks))
    return run


def test_the_arguments_say_what_is_measured():
    wanted = full.options(
        [
            "recipes=lstm,stack",
            "parts=1/4,1/2,1",
            "workers=1,2",
            "folder=x",
            "missing=true",
            "seed=3",
        ]
    )
    assert wanted.recipes == ("lstm", "stack")
    assert wanted.subjects == (3, 6, 12)
    assert wanted.workers == (1, 2)
    assert wanted.folder.name == "x"
    assert wanted.missing
    assert wanted.overrides == ("seed=3",)
    assert full.options([]).recipes == full.RECIPES
    assert full.options(["subjects=2"]).subjects == (2,)


@pytest.mark.parametrize("argument", [
    "recipes=lstn", "recipe=lstm", "subjects=0", "subjects=13", "subjects=a", "parts=1/5",
    "parts=2", "parts=1/0", "parts=x", "workers=", "folder=", "missing=yes",
])  # fmt: skip
def test_an_argument_that_cannot_be_is_refused_by_name(argument):
    with pytest.raises(ConfigError, match=argument.split("=")[0]):
        full.options([argument])


def test_the_table_is_read_as_it_was_written():
    runs = [made("stack", 12), made("lstm", 6), made("lstm", 12, 1), made("lstm", 12)]
    del runs[0].stages[WHOLE]  # it was cut off
    text = measured_runs.write(runs, full.RECIPES)
    again = measured_runs.read(text)
    assert [run.key for run in again] == [
        ("lstm", 6, 2), ("lstm", 12, 1), ("lstm", 12, 2), ("stack", 12, 2)
    ]  # fmt: skip
    assert measured_runs.write(again, full.RECIPES) == text
    assert again[2].rows == 21_000_000
    assert again[2].stages["ingest"] == Measure("ingest", 120, 32.5, 0.91, 0.51, 0.2)
    assert again[3].whole is None
    newer = replace(runs[1], measured="2026-02-03")
    assert [run.measured for run in measured_runs.replaced(again, newer) if run.subjects == 6] == [
        "2026-02-03"
    ]


def test_the_summary_says_whether_the_aims_are_met():
    runs = [made("lstm", 12), made("stack", 12), made("lstm", 6), made("semi_markov", 12)]
    runs[1].stages[WHOLE] = replace(runs[1].stages[WHOLE], seconds=2401.0)
    text = measured_runs.summary(runs, full.AIMS, 12)
    rows = text.splitlines()[2:]
    assert [row.rstrip(" |").rpartition("| ")[2] for row in rows] == [
        "15 minutes, 4 GiB: met", "40 minutes, 6 GiB: **not met**", "1.4", "15 minutes: met",
    ]  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(st.floats(0, 100), st.floats(0, 100), st.integers(2, 6))
def test_a_line_is_found_again(fixed, slope, points):
    x = list(np.arange(1.0, points + 1))
    line = Line.fitted(x, [fixed + slope * each for each in x])
    assert line.at(10.0) == pytest.approx(fixed + slope * 10, rel=1e-6, abs=1e-6)


def test_a_coefficient_is_never_negative():
    falling = Line.fitted([1.0, 2.0, 3.0], [3.0, 2.0, 1.0])
    assert falling.slope == 0
    assert falling.fixed == pytest.approx(2)
    assert Line.fitted([1.0, 2.0, 3.0], [0.0, 2.0, 4.0]).fixed == 0


def test_the_model_foretells_a_run_that_keeps_to_its_law():
    members = 4
    runs = [
        made("stack", 3, 2, members),
        made("stack", 6, 2, members),
        made("stack", 6, 1, members),
    ]
    model = CostModel.fitted(runs, members)
    for subjects, workers in ((12, 2), (120, 24), (24, 240)):
        run = made("stack", subjects, workers, members)
        size = Size(subjects, run.rows / 1e6, members, workers)
        assert model.minutes(size) == pytest.approx(run.whole.seconds / 60, rel=1e-3)
        assert model.memory(size) == pytest.approx(
            (run.whole.tree, run.whole.root, run.whole.child), rel=1e-3
        )


def test_the_report_has_coefficients_errors_and_what_more_data_would_take():
    runs = [made("lstm", subjects) for subjects in (3, 6, 12)] + [made("stack", 3)]
    text = cost_model.report(runs, {"lstm": 1, "stack": 9}, 12)
    assert (
        "| `lstm` | ingest | 0 + 10.0 S | 1.0 + 3.00 w | 0.30 + 0.010 R | 0.20 + 0.000 R |" in text
    )
    assert set(re.findall(r"\S+%", text)) <= {"+0%", "-0%"}
    assert len(re.findall(r"\S+%", text)) == 6
    assert "| `lstm` | 1,000 x | 12,000 | 240 |" in text
    assert "`stack`" not in text  # one size says nothing of others
    assert "Too few" in cost_model.report(runs[-1:], {"stack": 9}, 12)


def test_memory_is_that_of_the_whole_tree_and_its_peak_is_forgotten_once_taken(monkeypatch):
    monkeypatch.setattr(process_tree, "EVERY", 0.02)
    get_reusable_executor().shutdown()  # workers that other tests have left
    held = (
        "import sys, time; held = b'x' * (60 << 20); print('there', flush=True); sys.stdin.read()"
    )
    with psutil.Popen([sys.executable, "-c", held], stdin=-1, stdout=-1) as child:
        child.stdout.readline()
        watch = process_tree.Watch(os.getpid())
        try:
            peak = process_tree.Peak()
            while not peak.child:
                peak = watch.take()
            assert peak.child > 60 / 1024
            assert peak.tree == pytest.approx(peak.root + peak.child, rel=0.2)
            child.stdin.close()
            child.wait()
            watch.take()
            after = process_tree.Peak()
            while not after.root:
                after = watch.take()
            assert after.child < 60 / 1024  # others may be helpers of other tests
        finally:
            watch.close()


FAKE = """
    import sys
    arguments = dict(each.partition("=")[::2] for each in sys.argv[1:])
    if arguments.get("stage") == "simulate":
        print("simulate 2 done in 0.1 s")
    elif arguments["experiment"] == "lstm":
        print("simulate up to date (2 of 2)")
        print("ingest   2 done in 0.2 s")
        print("train    1 done, 1 up to date in 3.0 s")
    else:
        print("\\nmember   lstm")
        print("filter   2 done in 0.2 s")
        print("folds    4 done in 0.5 s")
        print("member   fbl_lda")
        print("filter   up to date (2 of 2)")
        print("folds    4 done in 0.25 s", flush=True)
        print("stack    2 done in 0.2 s")
        print("train    2 done in 0.2 s")
        sys.exit(int(arguments.get("fails", "0")))
"""


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """A command that says what it does, and does nothing; and a document."""
    script = tmp_path / "fake.py"
    script.write_text(textwrap.dedent(FAKE), encoding="utf-8")
    document = tmp_path / "scale.md"
    markers = (full.SUMMARY, full.RUNS, full.MODEL)
    text = "".join(f"<!-- {m}:begin -->\n<!-- {m}:end -->\n" for m in markers)
    document.write_text(text, encoding="utf-8")
    monkeypatch.setattr(full, "PROGRAM", (sys.executable, "-u", str(script)))
    monkeypatch.setattr(full, "DOC", document)
    monkeypatch.setattr(full.Bench, "rows", lambda bench: 1000)
    return document


def test_each_stage_has_its_row_and_a_stack_s_members_have_their_own(fake, tmp_path, capfd):
    full.main(["recipes=lstm,stack", "subjects=1", "workers=1", f"folder={tmp_path}"])
    runs = {run.key: run for run in measured_runs.read(read_between(fake, full.RUNS))}
    lstm, stack = runs["lstm", 1, 1], runs["stack", 1, 1]
    assert list(lstm.stages) == ["ingest", "train", "other", WHOLE]
    assert (lstm.stages["train"].seconds, lstm.stages["train"].tasks) == (3.0, 1)
    assert list(stack.stages)[:4] == [f"{MEMBERS}filter", f"{MEMBERS}folds", "stack", "train"]
    folds = stack.stages[f"{MEMBERS}folds"]
    assert (folds.tasks, folds.seconds) == (8, pytest.approx(0.75, abs=0.06))
    assert "simulate" in {run.recipe for run in runs.values()}
    assert "| `stack` | 1 | 1 | 1,000 |" in read_between(fake, full.SUMMARY)


def test_a_run_that_fails_keeps_its_rows_and_no_whole_run_is_lost_to_it(fake, tmp_path, capfd):
    def stages() -> list[str]:
        run = next(
            r for r in measured_runs.read(read_between(fake, full.RUNS)) if r.recipe != "simulate"
        )
        return list(run.stages)

    arguments = ["recipes=stack", "subjects=1", "workers=1", f"folder={tmp_path}"]
    broken = fake.parent / "fake.py"
    text = broken.read_text(encoding="utf-8")
    broken.write_text(text.replace('"0"', '"1"'), encoding="utf-8")
    with pytest.raises(PipelineError, match="exit status 1"):
        full.main(arguments)
    assert stages() == [f"{MEMBERS}filter", f"{MEMBERS}folds", "stack", "train"]
    broken.write_text(text, encoding="utf-8")
    full.main(arguments)
    assert stages()[-1] == WHOLE
    broken.write_text(text.replace('"0"', '"1"'), encoding="utf-8")
    with pytest.raises(PipelineError, match="exit status 1"):
        full.main(arguments)
    assert stages()[-1] == WHOLE
    full.main([*arguments, "missing=true"])  # does not begin


def test_with_overrides_the_document_stays_as_it_is(fake, tmp_path, capfd):
    before = fake.read_bytes()
    full.main(["recipes=lstm", "subjects=1", f"folder={tmp_path}", "seed=3"])
    assert fake.read_bytes() == before
    assert "| `lstm` | 1 |" in capfd.readouterr().out


SERIES = (
    "dataset.simulation.series=3", "dataset.simulation.trials=2", "dataset.train_series=[1]",
    "dataset.valid_series=[2]", "dataset.test_series=[3]", "tracking.enabled=false",
)  # fmt: skip


@pytest.mark.slow
def test_a_real_command_is_measured(tmp_path, capfd):
    bench = full.Bench(tmp_path, [*SERIES, "stage=filter"])
    run = list(bench.measure("fbl_lda", 1, 1))[-1]
    assert [*run.stages] == ["ingest", "filter", "other", WHOLE]
    assert run.rows == sum(
        full._lines(path) - 1 for path in tmp_path.glob("data/derived/*/simulate-*/*/*_data.csv")
    )
    assert run.stages["ingest"].tasks == run.stages["filter"].tasks == 3
    assert run.whole.seconds > 0.5
    assert 0.05 < run.whole.root <= run.whole.tree < 20
    bench.clear()
    assert {path.name.split("-")[0] for path in bench.derived.iterdir()} == {"simulate"}


@pytest.mark.slow
def test_reading_and_filtering_are_compared(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(bench_read, "PROFILED", 1)
    # A new process would take seconds to load what is loaded here.
    monkeypatch.setattr(bench_read, "ProcessPoolExecutor", lambda n, **_: ThreadPoolExecutor(n))
    bench_read.main(["series=1", "rounds=1", f"data_dir={tmp_path}", "workers=1", *SERIES])
    said = capfd.readouterr().out
    assert "| reading | " in said
    assert "`scipy.signal.sosfilt`: " in said
    assert "| filter: the filters | " in said


@pytest.mark.parametrize("argument", ["series=0", "rounds=many"])
def test_a_number_that_cannot_be_is_refused(argument):
    with pytest.raises(ConfigError, match=argument):
        bench_read.options([argument])
