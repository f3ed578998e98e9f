"""The runner: caching, atomic writes, parallel execution, damaged files."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
from joblib import Parallel, delayed
from threadpoolctl import threadpool_limits

from pipeline.config.paths import PROJECT
from pipeline.errors import PipelineError
from pipeline.work import files, runner
from pipeline.work.files import alone, contents, write_whole
from pipeline.work.machine import PARALLEL, cores
from pipeline.work.runner import run
from pipeline.work.tasks import Folder, Task
from tests.conftest import LIMIT
from tests.slow_tasks import count_threads, die, hold, quiet, slow_tasks, tell, whose

pytestmark = pytest.mark.slow

CALLS: list[str] = []


def copy_upper(scratch, report, source, output, fail=False):
    CALLS.append(output)
    (scratch / output).write_text(source.read_text(encoding="utf-8").upper(), encoding="utf-8")
    if fail:
        raise PipelineError("told in one line")


def make(tmp_path, config="A", **more):
    source = tmp_path / "source.txt"
    if not source.exists():
        source.write_text("text", encoding="utf-8")
    folder = Folder(tmp_path / "derived", "upper", config, ())
    return Task(
        folder, "one", (source,), ("one.txt",), copy_upper,
        {"source": source, "output": "one.txt"}, **more,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def _forget():
    CALLS.clear()


def test_a_second_run_does_nothing_and_says_so(tmp_path):
    said = []
    run("upper", [make(tmp_path)], say=said.append)
    run("upper", [make(tmp_path)], say=said.append)
    assert CALLS == ["one.txt"]
    assert "1 done" in said[0]
    assert "up to date" in said[1]


def note_and_copy(scratch, report, **rest):
    report(0.0, {"note": "something odd"})
    copy_upper(scratch, report, **rest)


def test_what_work_notes_is_printed_with_the_tasks_name(tmp_path, capsys):
    quiet([replace(make(tmp_path), work=note_and_copy)])
    assert "one: something odd\n" in capsys.readouterr().out


def test_a_parameter_from_a_to_b_to_a_redoes_only_b(tmp_path):
    for config in ("A", "B", "A", "B"):
        quiet([make(tmp_path, config)])
    assert len(CALLS) == 2


def test_other_input_content_is_stale_and_a_touched_file_is_not(tmp_path):
    task = make(tmp_path)
    quiet([task])
    (tmp_path / "source.txt").touch()
    quiet([task])
    assert len(CALLS) == 1
    (tmp_path / "source.txt").write_text("TeXt", encoding="utf-8")
    quiet([task])
    assert len(CALLS) == 2
    assert task.paths()[0].read_text(encoding="utf-8") == "TEXT"


@pytest.mark.parametrize(
    "damage",
    [
        "remove",
        "change",
        "{ cut of",
        "[]",
        "null",
        '{"outputs": []}',
        "no manifest",
        '{"outputs": {"one.txt": 5}}',
        '{"outputs": {"one.txt": "abc"}}',
        "[" * 100_000,
    ],
)
def test_damaged_outputs_are_made_again(tmp_path, damage):
    task = make(tmp_path)
    quiet([task])
    output = task.paths()[0]
    if damage == "remove":
        output.unlink()
    elif damage == "change":
        output.write_text("tampered", encoding="utf-8")
    elif damage == "no manifest":
        task.manifest.unlink()
    else:
        task.manifest.write_text(damage, encoding="utf-8")
    quiet([task])
    assert len(CALLS) == 2
    assert output.read_text(encoding="utf-8") == "TEXT"


def test_a_folder_in_the_place_of_a_manifest_is_named(tmp_path):
    task = make(tmp_path)
    task.manifest.mkdir(parents=True)
    with pytest.raises(PipelineError, match=r"one\.json: is a folder"):
        quiet([task])


def flip_a_bit(path):
    """Change one byte; size and time stay."""
    stat, blob = path.stat(), bytearray(path.read_bytes())
    blob[0] ^= 1
    path.write_bytes(bytes(blob))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_a_bit_that_flips_is_found_by_the_task_that_reads_the_file(tmp_path):
    """As a later command finds it: nothing is remembered of the earlier one."""
    said = []

    def go_through():
        runner._made.clear()
        files._content.cache_clear()
        first = make(tmp_path)
        run("first", [first], say=said.append)
        (source,) = first.paths()
        folder = Folder(tmp_path / "derived", "second", "A", ())
        second = Task(
            folder, "two", (source,), ("two.txt",), copy_upper,
            {"source": source, "output": "two.txt"}, verify=True,
        )  # fmt: skip
        run("second", [second], say=said.append)
        return first.paths()[0], second.paths()[0]

    middle, last = go_through()
    for damaged in (middle, last):
        flip_a_bit(damaged)
        assert damaged.read_text(encoding="utf-8") != "TEXT"
        CALLS.clear()
        assert [path.read_text(encoding="utf-8") for path in go_through()] == ["TEXT", "TEXT"]
        assert ["one.txt" if damaged == middle else "two.txt"] == CALLS
    assert any("one.txt: is damaged" in line for line in said)


def test_other_code_or_another_upstream_is_another_folder(tmp_path):
    keys = {
        Folder(tmp_path, "upper", {"a": 1}, (code,), upstream).key
        for code in ("pipeline.errors", "pipeline.data.recording")
        for upstream in ("x", "y")
    }
    assert len(keys) == 4


def test_work_that_fails_leaves_nothing(tmp_path):
    task = make(tmp_path)
    bad = Task(**{**task.__dict__, "arguments": {**task.arguments, "fail": True}})
    with pytest.raises(PipelineError, match="told in one line"):
        quiet([bad])
    assert list(task.folder.path.iterdir()) == []


def test_many_tasks_in_processes_and_their_news(tmp_path):
    folder = Folder(tmp_path / "derived", "news", 1, ())
    tasks = [Task(folder, f"t{i}", (), (f"t{i}.txt",), tell, {"i": i}) for i in range(5)]
    heard = {}
    summary = run("news", tasks, workers=2, listen=heard.__setitem__, say=lambda line: None)
    assert sorted(summary.done) == [f"t{i}" for i in range(5)]
    assert {name: news["i"] for name, news in heard.items()} == {f"t{i}": i for i in range(5)}


def test_a_listener_that_fails_is_told_after_all_is_done(tmp_path):
    folder = Folder(tmp_path / "derived", "news", 1, ())
    tasks = [Task(folder, f"t{i}", (), (f"t{i}.txt",), tell, {"i": i}) for i in range(3)]
    heard = []

    def listen(name, news):
        heard.append(name)
        raise OSError("deaf")

    with pytest.raises(OSError, match="deaf"):
        run("news", tasks, listen=listen, say=lambda line: None)
    assert heard == ["t0"]
    assert run("news", tasks, say=lambda line: None).fresh == ["t0", "t1", "t2"]


def test_two_runs_of_the_same_task_at_once_end_whole(tmp_path):
    task = make(tmp_path)
    threads = [threading.Thread(target=quiet, args=([task],)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert task.paths()[0].read_text(encoding="utf-8") == "TEXT"
    quiet([task])
    assert CALLS == ["one.txt"]  # the second waited


@pytest.mark.parametrize("workers", [1, 2])
def test_a_task_uses_its_own_number_of_threads_whatever_the_machine_s(tmp_path, workers):
    """Else other bytes come out with another number of cores or of workers."""
    folder = Folder(tmp_path / "derived", "threads", 1, ())
    import torch

    tasks = [
        Task(folder, f"t{i}", (), (f"{i}.txt",), count_threads, {"number": i}, threads=1 + i)
        for i in range(3)
    ]
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(4)
        with threadpool_limits(4):
            quiet(tasks, workers=workers)
    finally:
        torch.set_num_threads(before)
    told = [json.loads(task.paths()[0].read_text(encoding="utf-8")) for task in tasks]
    assert told == [[1, 1], [2, 2], [3, 3]]


def test_a_worker_that_is_killed_is_told_in_one_line_and_leaves_no_half_output(tmp_path):
    folder = Folder(tmp_path / "derived", "killed", 1, ())
    tasks = [Task(folder, f"t{i}", (), (f"{i}.txt",), die, {"number": i}) for i in range(2)]
    with pytest.raises(PipelineError, match=r"a worker process was killed.*workers=2"):
        quiet(tasks, workers=2)
    assert not (folder.path / "1.txt").exists()
    again = quiet(tasks[:1], workers=2)  # the next command has workers again
    assert again.done + again.fresh == ["t0"]


def demand_memory(scratch, report, how):
    if how == "numpy":
        np.ones((1 << 40, 1 << 10))
    if how == "torch":
        import torch

        torch.empty(1 << 60)
    raise RuntimeError("another fault")


@pytest.mark.parametrize("how", ["numpy", "torch"])
def test_too_little_memory_is_told_in_one_line(tmp_path, how):
    folder = Folder(tmp_path / "derived", "memory", 1, ())
    with pytest.raises(PipelineError, match="greedy: needs more memory than there is") as error:
        quiet([Task(folder, "greedy", (), (), demand_memory, {"how": how})])
    assert len(str(error.value).splitlines()) == 1
    with pytest.raises(RuntimeError, match="another fault"):
        quiet([Task(folder, "greedy", (), (), demand_memory, {"how": "else"})])


def test_processes_that_need_the_same_tasks_at_once_do_each_once(tmp_path):
    """Four commands, two of them with workers; a resumable task has one folder for all."""
    code = (
        "import sys; from pathlib import Path; from tests.slow_tasks import quiet, slow_tasks\n"
        "done = quiet(slow_tasks(Path(sys.argv[1])), workers=int(sys.argv[2]))\n"
        "print(len(done.done), len(done.fresh))"
    )
    commands = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path), str(workers)],
            cwd=PROJECT, stdout=subprocess.PIPE, text=True,
        )
        for workers in (1, 1, 2, 2)
    ]  # fmt: skip
    told = [command.communicate(timeout=LIMIT)[0].split() for command in commands]
    assert [command.returncode for command in commands] == [0, 0, 0, 0]
    lines = (tmp_path / "log").read_text(encoding="utf-8").splitlines()
    assert sorted(line.split()[1] for line in lines) == ["0", "1", "2"]
    assert [int(done) + int(fresh) for done, fresh in told] == [3, 3, 3, 3]
    assert sum(int(done) for done, _ in told) == 3
    folder = slow_tasks(tmp_path)[0].folder.path
    assert sorted(path.name for path in folder.iterdir()) == [
        "0.txt", "1.txt", "2.txt", "t0.json", "t1.json", "t2.json",
    ]  # fmt: skip


def test_what_a_process_left_that_was_killed_just_after_a_task_was_done_is_removed(tmp_path):
    tasks = slow_tasks(tmp_path)
    quiet(tasks)
    folder = tasks[0].folder.path
    there = sorted(folder.iterdir())
    (folder / ".t0.lock").write_text("", encoding="utf-8")
    (folder / ".t0.12-ab").mkdir()
    (folder / ".t1.34-cd").mkdir()  # without a lock
    (folder / ".t2.56-ef").mkdir()
    with alone(folder / ".t2.lock"):  # somebody works there
        quiet(tasks)
        assert (folder / ".t2.56-ef").is_dir()
        assert (folder / ".t2.lock").exists()
    assert sorted(folder.iterdir()) == [folder / ".t2.56-ef", *there]


def test_a_killed_process_lets_the_next_one_in(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    held = spawn.Event()
    holder = spawn.Process(target=hold, args=(tmp_path / ".lock", held))
    holder.start()
    assert held.wait(LIMIT)
    with alone(tmp_path / ".lock", holder.kill):
        holder.join()
    assert holder.exitcode == -signal.SIGKILL
    assert list(tmp_path.iterdir()) == []


def test_jobs_that_run_at_once_share_the_cores(monkeypatch):
    monkeypatch.delenv(PARALLEL, raising=False)
    everything = cores()
    monkeypatch.setenv(PARALLEL, "2")
    assert cores() == max(1, everything // 2)
    monkeypatch.setenv(PARALLEL, "1000")
    assert cores() == 1


def test_write_whole_leaves_nothing_when_writing_fails(tmp_path):
    def fail(hidden):
        hidden.write_text("half", encoding="utf-8")
        raise OSError("disk full")

    with pytest.raises(PipelineError, match=r"out.csv: cannot be written"):
        write_whole(tmp_path / "out.csv", fail)
    assert not list(tmp_path.iterdir())


def fills_up(scratch, report):
    raise OSError("10 requested and 3 written")  # NumPy's words, without the reason


def test_a_disk_that_fills_up_is_told_also_where_numpy_does_not_say_so(tmp_path, monkeypatch):
    def full(file):
        raise OSError(errno.ENOSPC, "No space left on device")

    task = Task(Folder(tmp_path, "fill", 1, ()), "one", (), ("one.npy",), fills_up)
    with pytest.raises(PipelineError, match=r"10 requested and 3 written$"):
        run("fill", [task])
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(PipelineError, match=r"No space left on device$"):
        run("fill", [task])
    with pytest.raises(PipelineError, match=r"No space left on device$"):
        write_whole(tmp_path / "one.npy", lambda hidden: fills_up(hidden, None))


def test_two_inputs_of_one_name_are_both_looked_at(tmp_path):
    files = [tmp_path / folder / "a.npy" for folder in ("one", "two")]
    for file in (*files, tmp_path / "b.npy"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(file.parent.name, encoding="utf-8")
    before = contents((*files, tmp_path / "b.npy"))
    assert sorted(before) == ["b.npy", "one/a.npy", "two/a.npy"]
    files[0].write_text("changed", encoding="utf-8")
    after = contents((*files, tmp_path / "b.npy"))
    assert {name for name in before if before[name] != after[name]} == {"one/a.npy"}


def test_a_worker_has_workers_of_its_own(tmp_path):
    """As in a sweep's job: joblib by itself would take threads there, which share a seed."""
    ((asked, did),) = Parallel(n_jobs=2, backend="loky")([delayed(whose)(tmp_path)])
    assert asked != os.getpid()
    assert len(did - {asked, os.getpid()}) == 2
