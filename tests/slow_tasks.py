"""Tasks for tests with several processes: nothing is imported that takes them seconds."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path

from joblib import delayed
from threadpoolctl import threadpool_info

from pipeline.work.engines import Local
from pipeline.work.files import alone
from pipeline.work.runner import run
from pipeline.work.tasks import Folder, Task


def quiet(tasks, **more):
    return run("upper", tasks, say=lambda line: None, **more)


def slow(scratch, report, number, log):
    """Fail if anybody else works in the folder; leave a line in the log."""
    (scratch / "mine").mkdir()
    with open(log, "a", encoding="utf-8") as file:
        file.write(f"{os.getpid()} {number}\n")
    time.sleep(0.15)
    (scratch / "mine").rmdir()
    (scratch / f"{number}.txt").write_text(str(number), encoding="utf-8")


def slow_tasks(tmp_path, count=3):
    folder = Folder(tmp_path / "derived", "slow", 1, ())
    log = tmp_path / "log"
    return [
        Task(folder, f"t{i}", (), (f"{i}.txt",), slow, {"number": i, "log": log}, resumable=True)
        for i in range(count)
    ]


def tell(scratch, report, i):
    report(0.5, {"i": i})
    (scratch / f"t{i}.txt").write_text(str(i), encoding="utf-8")


def count_threads(scratch, report, number):
    """Write how many threads this task may use."""
    import torch  # here: the processes of other tests start quickly without it

    most = max(pool["num_threads"] for pool in threadpool_info())
    counted = [torch.get_num_threads(), most]
    (scratch / f"{number}.txt").write_text(json.dumps(counted), encoding="utf-8")


def die(scratch, report, number):
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    (scratch / f"{number}.txt").write_text("done", encoding="utf-8")


def hold(path, held):
    with alone(path):
        held.set()
        threading.Event().wait()  # until it is killed


def who(folder: Path, i: int) -> int:
    """Wait until the other one works, too, however slowly its process starts; tell who this is."""
    (folder / f"begun_{i}").touch()
    limit = time.monotonic() + 60
    while len(list(folder.glob("begun_*"))) < 2 and time.monotonic() < limit:
        time.sleep(0.02)
    return os.getpid()


def whose(folder: Path) -> tuple[int, set[int]]:
    """Do two tasks with the local engine; tell who asked, and who did them."""
    calls = [delayed(who)(folder, i) for i in range(2)]
    return os.getpid(), set(Local().do(calls, 2, folder))
