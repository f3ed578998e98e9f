"""The stage cache: fresh or stale, whole or not at all."""

from __future__ import annotations

import threading

import pytest

from pipeline.errors import PipelineError
from pipeline.stage import Folder, Task, contents, run, write_whole

CALLS: list[str] = []


def copy_upper(scratch, report, source, output, fail=False):
    CALLS.append(output)
    (scratch / output).write_text(source.read_text().upper())
    if fail:
        raise PipelineError("told in one line")


def make(tmp_path, config="A", **more):
    source = tmp_path / "source.txt"
    if not source.exists():
        source.write_text("text")
    folder = Folder(tmp_path / "derived", "upper", config, "code")
    return Task(folder, "one", (source,), ("one.txt",), copy_upper, (source, "one.txt"), **more)


@pytest.fixture(autouse=True)
def _forget():
    CALLS.clear()


def quiet(tasks, **more):
    return run("upper", tasks, say=lambda line: None, **more)


def test_a_second_run_does_nothing_and_says_so(tmp_path):
    said = []
    run("upper", [make(tmp_path)], say=said.append)
    run("upper", [make(tmp_path)], say=said.append)
    assert CALLS == ["one.txt"]
    assert "1 done" in said[0]
    assert "fresh, nothing to do" in said[1]


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
    (tmp_path / "source.txt").write_text("TeXt")
    quiet([task])
    assert len(CALLS) == 2
    assert task.paths()[0].read_text() == "TEXT"


@pytest.mark.parametrize("damage", ["remove", "change", "manifest", "no manifest"])
def test_damaged_outputs_are_made_again(tmp_path, damage):
    task = make(tmp_path)
    quiet([task])
    output = task.paths()[0]
    if damage == "remove":
        output.unlink()
    elif damage == "change":
        output.write_text("tampered")
    elif damage == "manifest":
        task.manifest.write_text("{ cut of")
    else:
        task.manifest.unlink()
    quiet([task])
    assert len(CALLS) == 2
    assert output.read_text() == "TEXT"


def test_other_code_or_another_upstream_is_another_folder(tmp_path):
    keys = {
        Folder(tmp_path, "upper", {"a": 1}, code, upstream).key
        for code in ("one", "two")
        for upstream in ("x", "y")
    }
    assert len(keys) == 4


def test_work_that_fails_leaves_nothing(tmp_path):
    task = make(tmp_path)
    bad = Task(**{**task.__dict__, "arguments": (*task.arguments, True)})
    with pytest.raises(PipelineError, match="told in one line"):
        quiet([bad])
    assert list(task.folder.path.iterdir()) == []


def test_many_tasks_in_processes_and_their_news(tmp_path):
    folder = Folder(tmp_path / "derived", "news", 1, "code")
    tasks = [Task(folder, f"t{i}", (), (f"t{i}.txt",), tell, (i,)) for i in range(5)]
    heard = {}
    summary = run("news", tasks, workers=2, listen=heard.__setitem__, say=lambda line: None)
    assert sorted(summary.done) == [f"t{i}" for i in range(5)]
    assert {name: news["i"] for name, news in heard.items()} == {f"t{i}": i for i in range(5)}


def tell(scratch, report, i):
    report(0.5, {"i": i})
    (scratch / f"t{i}.txt").write_text(str(i))


def test_two_runs_of_the_same_task_at_once_end_whole(tmp_path):
    task = make(tmp_path)
    threads = [threading.Thread(target=quiet, args=([task],)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert task.paths()[0].read_text() == "TEXT"
    quiet([task])
    assert len(CALLS) <= 2


def test_write_whole_leaves_nothing_when_writing_fails(tmp_path):
    def fail(hidden):
        hidden.write_text("half")
        raise OSError("disk full")

    with pytest.raises(PipelineError, match=r"out.csv: cannot be written"):
        write_whole(tmp_path / "out.csv", fail)
    assert not list(tmp_path.iterdir())


def test_two_inputs_of_one_name_are_both_looked_at(tmp_path):
    files = [tmp_path / folder / "a.npy" for folder in ("one", "two")]
    for file in (*files, tmp_path / "b.npy"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(file.parent.name)
    before = contents((*files, tmp_path / "b.npy"))
    assert sorted(before) == ["b.npy", "one/a.npy", "two/a.npy"]
    files[0].write_text("changed")
    after = contents((*files, tmp_path / "b.npy"))
    assert {name for name in before if before[name] != after[name]} == {"one/a.npy"}
