"""Test a live signal over Lab Streaming Layer: without faults, and with those of practice.

``python -m pipeline.bench.lsl [model=ADDRESS subject=1] [seconds=60]`` lets another process send a
simulated recording as an amplifier does. It compares the predictions with those of the whole
recording, and writes a table into ``docs/live.md``. Without a model it fits one first. All streams
stay on this computer.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from pipeline.bench import bridge
from pipeline.bench.arguments import run_command
from pipeline.bench.capture import Capture
from pipeline.bench.document import machine, write_between
from pipeline.bench.lsl_plans import Plan, plans
from pipeline.config.compose import compose
from pipeline.config.paths import PROJECT
from pipeline.data.recording import Description
from pipeline.data.simulator.options import SimulationConfig
from pipeline.data.simulator.simulate import simulate_series
from pipeline.errors import DataError, PipelineError
from pipeline.live.feed import play
from pipeline.live.lsl import LslFeed, Outlets, load_lsl
from pipeline.live.model import LiveModel, load
from pipeline.live.policy import Policy
from pipeline.live.run import NoView, warmed_up
from pipeline.live.session import Session
from pipeline.live.view import Step, Summary
from pipeline.results.decisions import Decider, Onset, State
from pipeline.stages.context import Context
from pipeline.stages.decide import files
from pipeline.stages.flow import find
from pipeline.stages.flow import run as run_stages
from pipeline.stages.record import DECISIONS, export_recipe
from pipeline.work.machine import cores

DOC = PROJECT / "docs" / "live.md"
SECONDS, FAULT_SECONDS = 60.0, 10.0
TRIALS = 15
BRIDGE, BUFFER, CHUNK = 1.0, 5.0, 0.02  # s, as in conf/live
WAIT = 8.0  # s, for a stream that has ended
RECORDED = "steady"  # the plan whose results the sender receives and keeps
ROUNDING = 1e-6  # how far probabilities may differ from those of the whole recording
DEADLINE = 60.0  # s beyond the length of a plan; then it counts as hanging
# No packet leaves the computer, and other streams on it are ignored. Without multicast, a stream is
# found by asking each port of the range. Every outlet takes one of them, and every look for a
# stream two. liblsl's own range of 32 was too small: an outlet that found no free port took one
# beyond the range, where nobody asked it.
ISOLATED = """\
[ports]
IPv6 = disable
PortRange = 256
AllowRandomPorts = 0
[multicast]
ResolveScope = machine
AddressesOverride = {{127.0.0.1}}
[lab]
KnownPeers = {{127.0.0.1}}
SessionID = {session}
[log]
level = -3
"""


@dataclass
class Outcome:
    """The result of a plan.

    Parameters
    ----------
    plan : Plan
        What was sent.
    steps : list of Step
        What was predicted.
    summary : Summary or None
        None where the stream was refused.
    refusal : str
        Why.
    """

    plan: Plan
    steps: list[Step] = field(default_factory=list)
    summary: Summary | None = None
    refusal: str = ""

    @property
    def notes(self) -> list[str]:
        """All messages."""
        return [note for step in self.steps for note in step.notes]

    @property
    def told(self) -> list[str]:
        """The messages before the last sample. After it, the bench itself ends the stream."""
        last = max(number for number, step in enumerate(self.steps) if len(step.samples))
        return [note for step in self.steps[: last + 1] for note in step.notes]

    @property
    def onsets(self) -> list[Onset]:
        """All decided onsets."""
        return [onset for step in self.steps for onset in step.onsets]

    @property
    def probabilities(self) -> NDArray[np.float32]:
        """The probabilities of every sample, (n, E)."""
        return np.concatenate([step.probabilities for step in self.steps])


def expected(model: LiveModel, segments: Sequence[NDArray]) -> tuple[NDArray, list[Onset]]:
    """Predict each segment at once, as a recording, and decide its onsets."""
    decider, parts, onsets = Decider(model.settings), [], []
    for segment in segments:
        count = len(model.settings.events)
        decider.state = State(decider.state.samples, (0,) * count, (None,) * count)
        parts.append(model.recipe.predict(segment, model.subject))
        onsets += decider.push(parts[-1])
    return np.concatenate(parts), onsets


@contextmanager
def sender(folder: Path) -> Iterator[subprocess.Popen]:
    """Start the process that sends; it reads its plans from a folder."""
    command = [sys.executable, "-m", "pipeline.bench.lsl_sender", str(folder)]
    # On a busy computer the sender must not compute with more threads than it needs.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=environment,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        if process.stdout.readline().strip() != "ready":
            raise PipelineError("the sending process did not start")
        yield process
    finally:
        process.kill()
        process.wait()


def isolate(folder: Path) -> None:
    """Hide the streams of this process and its children from all other programs.

    liblsl reads the file once, when it is first used.
    """
    file = folder / "lsl_api.cfg"
    file.write_text(ISOLATED.format(session=uuid.uuid4().hex), encoding="utf-8")
    os.environ["LSLAPICFG"] = str(file)


def write_plan(folder: Path, plan: Plan, about: Description, record: bool) -> None:
    """Write a plan for the sender."""
    told = {
        "rate": about.rate, "pause": 0.5, "record": record,
        "parts": [{"channels": part.channels} for part in plan.parts],
    }  # fmt: skip
    arrays = {
        f"{key}{number}": getattr(part, key)
        for number, part in enumerate(plan.parts)
        for key in ("samples", "stamps", "due")
    }
    (folder / f"{plan.name}.json").write_text(json.dumps(told), encoding="utf-8")
    np.savez(folder / f"{plan.name}.npz", **arrays)


class Keep(NoView):
    """A view that keeps the steps."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def show(self, step: Step) -> None:
        """Keep it."""
        self.steps.append(step)


def receive(plan: Plan, model: LiveModel) -> Outcome:
    """Receive a plan's stream as ``stage=live`` does, until it ends."""
    lsl, about, view = load_lsl(), model.recipe.about, Keep()
    predictor, outlets = warmed_up(model, CHUNK), Outlets(lsl, plan.name, about)
    try:
        feed = LslFeed(lsl, plan.name, about, about.unit_volts, CHUNK, BUFFER, WAIT)
    except DataError as error:
        return Outcome(plan, refusal=str(error))
    session = Session(predictor, Decider(model.settings), Policy(about.rate, BRIDGE), feed.now)
    play(feed, session, view, [outlets], BUFFER)
    return Outcome(plan, view.steps, session.summary())


def run_plans(
    folder: Path, planned: Sequence[Plan], model: LiveModel, together: bool
) -> list[Outcome]:
    """Send and receive plans, one after another or all at the same time.

    Raises
    ------
    PipelineError
        If a plan does not end.
    """
    outcomes: dict[str, Outcome] = {}
    with sender(folder) as process:
        threads = []
        for plan in planned:
            write_plan(folder, plan, model.recipe.about, plan.name == RECORDED)
            assert process.stdin is not None
            process.stdin.write(f"{plan.name}\n")
            process.stdin.flush()

            def take(plan: Plan = plan) -> None:
                outcomes[plan.name] = receive(plan, model)

            threads.append(threading.Thread(target=take, daemon=True))
            threads[-1].start()
            if not together:
                wait_for(threads[-1:], [plan])
        wait_for(threads, planned)
        assert process.stdout is not None
        recorded = {f"sent {plan.name}" for plan in planned if plan.name == RECORDED}
        for line in process.stdout if recorded else ():
            recorded -= {line.strip()}
            if not recorded:
                break
    return [outcomes[plan.name] for plan in planned]


def wait_for(threads: Sequence[threading.Thread], planned: Sequence[Plan]) -> None:
    """Wait until the plans have ended, but not forever."""
    longest = max(sum(part.due[-1] for part in plan.parts) for plan in planned)
    for thread, plan in zip(threads, planned, strict=True):
        thread.join(longest + DEADLINE)
        if thread.is_alive():
            raise PipelineError(f"{plan.name}: does not end")


def faults(outcome: Outcome, model: LiveModel) -> list[str]:
    """List what is not as planned; an empty list if all is.

    Parameters
    ----------
    outcome : Outcome
        The result of a plan.
    model : LiveModel
        The model that predicted.
    """
    plan, said = outcome.plan, outcome.summary
    if not plan.segments:
        wanted = plan.title.split()[1]
        return [] if wanted in outcome.refusal else [f"not refused: {outcome.refusal!r}"]
    if said is None:
        return [f"refused: {outcome.refusal}"]
    wrong = [
        f"{key}={getattr(said, key)}, not {value}"
        for key, value in plan.counts.items()
        if getattr(said, key) != value
    ]
    sent = sum(len(part.samples) for part in plan.parts)
    if said.samples != sent:
        wrong.append(f"{said.samples} of {sent} samples")
    told = " ".join(outcome.notes)
    wrong += [f"not told: {words}" for words in plan.notes if words not in told]
    probabilities, onsets = expected(model, plan.segments)
    got = outcome.probabilities
    if got.shape != probabilities.shape or np.abs(got - probabilities).max() > ROUNDING:
        wrong.append("other probabilities than in a batch")
    if outcome.onsets != onsets:
        wrong.append("other onsets than in a batch")
    return wrong


def sent_back(folder: Path, outcome: Outcome) -> list[str]:
    """Compare what another process received from our two streams with what was predicted."""
    file = folder / f"{outcome.plan.name}-back.npz"
    if not file.exists():
        return ["the other process has not found our streams"]
    back = np.load(file)
    taken = back["probabilities"]
    times = np.concatenate([step.times for step in outcome.steps])
    first = int(np.searchsorted(times, taken[0, 0] - 1e-4)) if len(taken) else len(times)
    wrong = []
    # The first ones may be sent before the other process listens.
    if len(taken) != len(times) - first or not len(taken):
        wrong.append(f"probabilities sent: {len(taken)} of {len(times) - first}")
    elif not np.array_equal(taken[:, 1:].astype(np.float32), outcome.probabilities[first:]):
        wrong.append("other probabilities were sent")
    onsets = [onset for onset in outcome.onsets if onset.sample >= first]
    listened = back["onset_times"] >= (times[first] - 1e-4 if first < len(times) else np.inf)
    if [onset.event for onset in onsets] != list(back["onsets"][listened]):
        wrong.append("other onsets were sent")
    elif len(onsets):
        late = back["onset_times"][listened] - times[[onset.sample for onset in onsets]]
        if np.abs(late).max() > 1e-3:
            wrong.append("onsets were sent with other times")
    return wrong


def table(outcomes: Sequence[Outcome], model: LiveModel) -> list[str]:
    """Write the outcomes as a Markdown table."""
    lines = [
        "| sent | samples: sent, taken | what is told and done | onsets: live, batch "
        "| delay, ms: p50, p99 |",
        "|---|--:|---|--:|--:|",
    ]
    for outcome in outcomes:
        plan, said = outcome.plan, outcome.summary
        if said is None:
            lines.append(f"| {plan.title} | | refused: {outcome.refusal} | | |")
            continue
        sent = sum(len(part.samples) for part in plan.parts)
        told = "; ".join(dict.fromkeys(outcome.told)) or "nothing"
        batch = len(expected(model, plan.segments)[1])
        delays = [f"{1e3 * (each or 0):.1f}" for each in (said.delay_p50, said.delay_p99)]
        lines.append(
            f"| {plan.title} | {sent}, {said.samples} | {told} | {len(outcome.onsets)}, {batch} "
            f"| {', '.join(delays)} |"
        )
    return lines


def fitted(folder: Path) -> LiveModel:
    """Fit the recipe ``lstm`` on simulated recordings of one subject, with its decisions."""
    overrides = [
        "dataset=simulated", "experiment=lstm", "dataset.simulation.subjects=1",
        f"dataset.simulation.trials={TRIALS}", "decisions.enabled=true", "tracking.enabled=false",
    ]  # fmt: skip
    config = compose(overrides)
    result = run_stages(config)
    context = Context(config)
    export_recipe(context, find(context), folder)
    assert result.folder is not None
    settings = result.folder / files(context)[1]
    (folder / DECISIONS).write_bytes(settings.read_bytes())
    options = compose(["stage=live", f"live.model={folder}", "live.subject=1", "live.stream=x"])
    return load(options.live, None)


def main(arguments: list[str]) -> None:
    """Run all plans, print the table and write it into the document."""
    given = dict(each.partition("=")[::2] for each in arguments)
    if unknown := given.keys() - {"model", "subject", "seconds"}:
        raise PipelineError(f"{sorted(unknown)[0]}=: choose from model, subject, seconds")
    seconds = float(given.get("seconds", SECONDS))
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        isolate(folder)
        if "model" in given:
            subject = given.get("subject", "1")
            named = [f"live.model={given['model']}", f"live.subject={subject}"]
            model = load(compose(["stage=live", "live.stream=x", *named]).live, None)
        else:
            model = fitted(folder / "recipe")
        about = model.recipe.about
        made = simulate_series(SimulationConfig(trials=TRIALS), about, 1, 9)
        planned = plans(made.signal, about, seconds, FAULT_SECONDS)
        with Capture() as capture:
            outcomes = run_plans(folder, planned, model, together=False)
        wrong = {each.plan.name: faults(each, model) for each in outcomes}
        wrong["steady"] += sent_back(folder, outcomes[0])
        wrong["isolation"] = [capture.line()] if capture.left or capture.joined else []
    lines = table(outcomes, model)
    lines += [
        "", f"{machine(cores())}; chunks of {1e3 * CHUNK:g} ms, {len(about.channels)} channels at "
        f"{about.rate:g} Hz, recipe `lstm`, all on one computer.", "", capture.line(), "",
    ]  # fmt: skip
    print("\n".join(lines))
    if told := [f"{name}: {each}" for name, found in wrong.items() for each in found]:
        raise PipelineError("; ".join(told))
    write_between(DOC, "lsl", "\n".join(lines))
    write_between(DOC, "bridge", "\n".join([*bridge.table(model, made.signal), ""]))


if __name__ == "__main__":
    run_command(main)
