"""Plays the amplifier for the bench: sends streams, and receives the results.

`pipeline.bench.lsl` starts ``python -m pipeline.bench.lsl_sender FOLDER``. Each line of its
standard input names a plan, ``FOLDER/NAME.npz``, which it sends. It prints ``sent NAME`` when the
plan is sent and its results have arrived.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.live.lsl import ONSETS, PROBABILITIES, load_lsl

CONNECT_SECONDS = 60.0
SETTLE_SECONDS = 3.0  # after a program has connected, until it surely receives samples at once
LOOK_SECONDS = 3.0  # one look for a stream; it ends as soon as the stream is found
CHUNK = 10  # samples that are sent at once
TICK_SECONDS = 0.002
LAST_SECONDS = 0.5  # a stream stays open for this time after its last sample
QUIET_SECONDS = 2.0  # without a result after the last sample: then no more will come
LONGEST = 1 << 20  # samples that are received at once, at most


def send_plan(lsl: Any, folder: Path, name: str) -> None:
    """Send the parts of a plan, each as a separate stream."""
    told = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    arrays = np.load(folder / f"{name}.npz")
    finished = threading.Event()
    taken = threading.Thread(target=take_back, args=(lsl, folder, name, finished))
    if told["record"]:
        taken.start()
    for number, part in enumerate(told["parts"]):
        info = lsl.StreamInfo(
            name, "EEG", len(part["channels"]), told["rate"], "float32", f"bench {name}"
        )
        info.set_channel_names(part["channels"])
        info.set_channel_types("eeg")
        outlet = lsl.StreamOutlet(info)
        if not wait_for(lambda taker=outlet: taker.has_consumers):
            break
        time.sleep(SETTLE_SECONDS)
        push(lsl, outlet, *(arrays[f"{key}{number}"] for key in ("samples", "stamps", "due")))
        time.sleep(LAST_SECONDS)
        del outlet
        time.sleep(told["pause"])
    finished.set()
    if told["record"]:
        taken.join()
    print(f"sent {name}", flush=True)


def wait_for(ready: Any) -> bool:
    """Wait until `ready()` is true; give False if it takes too long."""
    until = time.monotonic() + CONNECT_SECONDS
    while not ready():
        if time.monotonic() > until:
            return False
        time.sleep(TICK_SECONDS)
    return True


def push(lsl: Any, outlet: Any, samples: Any, stamps: Any, due: Any) -> None:
    """Send samples when they are due.

    Parameters
    ----------
    lsl, outlet
        Module and outlet of MNE-LSL.
    samples : ndarray, shape (n, C)
        Samples, with the channels in the stream's order.
    stamps, due : ndarray, shape (n,)
        Time stamps, and when each sample is sent; in s from the start.
    """
    begun, row = lsl.local_clock(), 0
    samples = np.ascontiguousarray(samples, dtype=np.float32)
    while row < len(samples):
        ready = int(np.searchsorted(due, lsl.local_clock() - begun, side="right"))
        stop = len(samples) if ready == len(samples) else row + (ready - row) // CHUNK * CHUNK
        if stop - row > 1:
            outlet.push_chunk(samples[row:stop].copy(), begun + stamps[row:stop])
        elif stop > row:
            outlet.push_sample(samples[row], float(begun + stamps[row]))
        row = stop
        time.sleep(TICK_SECONDS)


def take_back(lsl: Any, folder: Path, name: str, finished: threading.Event) -> None:
    """Receive the probabilities and onsets for a stream until they end, and write them.

    Parameters
    ----------
    lsl : module
        That of MNE-LSL.
    folder : Path
        Where to write.
    name : str
        Name of the stream.
    finished : Event
        It is set when all samples are sent: soon after that, no more results come.
    """
    inlets = []
    # Onsets first: then none is missed that belongs to a probability that is taken.
    for kind in (ONSETS, PROBABILITIES):
        found: list[Any] = []

        def look(kind: str = kind, found: list[Any] = found) -> bool:
            found[:] = lsl.resolve_streams(LOOK_SECONDS, name=f"{name}-{kind}")
            return bool(found)

        if not wait_for(look):
            print(f"{name}-{kind}: not found", file=sys.stderr)
            return
        inlet = lsl.StreamInlet(found[0], recover=False)
        inlet.open_stream(5.0)
        inlets.append(inlet)
    chunks, marks, ended, heard = [], [], False, time.monotonic()
    while not ended and not (finished.is_set() and time.monotonic() - heard > QUIET_SECONDS):
        time.sleep(10 * TICK_SECONDS)
        try:
            chunk, times = inlets[1].pull_chunk(0.0, LONGEST)
            if len(times):
                chunks.append(np.column_stack([times, chunk]))
                heard = time.monotonic()
            mark, at = inlets[0].pull_sample(0.0)
            while at is not None:
                marks.append((at, mark[0]))
                mark, at = inlets[0].pull_sample(0.0)
        except Exception:  # by mne-lsl: the streams have ended
            ended = True
    np.savez(
        folder / f"{name}-back.npz",
        probabilities=np.concatenate(chunks) if chunks else np.empty((0, 1)),
        onset_times=np.array([at for at, _ in marks]), onsets=np.array([m for _, m in marks]),
    )  # fmt: skip


def main() -> None:
    """Send the plans that standard input names, each in its own thread."""
    lsl, folder = load_lsl(), Path(sys.argv[1])
    print("ready", flush=True)
    for line in sys.stdin:
        threading.Thread(target=send_plan, args=(lsl, folder, line.strip()), daemon=True).start()


if __name__ == "__main__":
    main()
