"""The loop: truncated back-propagation through time, validation, checkpoints, resume."""

from __future__ import annotations

import copy
import os
import time
import zlib
from dataclasses import asdict, dataclass
from math import cos, pi
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from pipeline.detector import Detector, Network, State, predict, start
from pipeline.errors import ConfigError, PipelineError
from pipeline.filtering import FeatureSeries, Moments
from pipeline.recording import series_name
from pipeline.scoring import score
from pipeline.stage import Report
from pipeline.windows import Batches, plan_epoch

Key = tuple[int, int]


@dataclass(frozen=True)
class Job:
    """One training: on which series, and what is predicted afterwards.

    Parameters
    ----------
    name : str
        E.g. ``subj3_validate``.
    fit : tuple of (int, int)
        (subject, series) that are learned from.
    predict : tuple of (int, int)
        (subject, series) that are predicted, never one of ``fit``.
    validate : bool
        Whether the predicted series are labelled and choose the epoch. If not, the job trains for
        as many epochs as the ``history`` of its validating twin says.
    folder : Path
        Where the features are.
    events : tuple of str
        The columns' names.
    history : Path, optional
        The validating twin's ``_history.csv``.
    """

    name: str
    fit: tuple[Key, ...]
    predict: tuple[Key, ...]
    validate: bool
    folder: Path
    events: tuple[str, ...]
    history: Path | None = None

    def __post_init__(self) -> None:
        seen = set(self.fit) & set(self.predict)
        if seen:
            raise ValueError(f"{self.name} would predict series that it learns from: {seen}")

    def outputs(self) -> tuple[str, ...]:
        """Name the files that `train_job` writes."""
        logits = [f"{series_name(*key)}_logits.npy" for key in self.predict]
        return (f"{self.name}_model.pt", f"{self.name}_history.csv", *logits)


@dataclass(frozen=True)
class Options:
    """The slice of the configuration that training reads, plain.

    Parameters
    ----------
    window, model : dict
        Keyword arguments of `plan_epoch` and of `Network`.
    train : dict
        The group ``train``.
    seed : int
        Seeds weights, dropout and the order of the batches.
    """

    window: dict[str, Any]
    model: dict[str, Any]
    train: dict[str, Any]
    seed: int


def choose_device(name: str) -> torch.device:
    """Turn ``device`` into a device; ``auto`` takes a GPU where there is one.

    Raises
    ------
    ConfigError
        When there is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"device={name}: cannot be used ({reason}); try device=auto") from error
    return device


def learning_rate(schedule: str, peak: float, progress: float) -> float:
    """Give the learning rate after a share of the planned training.

    ``onecycle`` rises along a cosine from a 25th of the peak over the first 30 %, and falls along
    another to zero (Smith & Topin 2018, as in `torch.optim.lr_scheduler.OneCycleLR`).
    """
    if schedule == "constant":
        return peak
    rise = 0.3
    if progress < rise:
        return peak * (0.04 + 0.96 * 0.5 * (1 - cos(pi * progress / rise)))
    return peak * max(1e-4, 0.5 * (1 + cos(pi * (progress - rise) / (1 - rise))))


def masked_bce(logits: torch.Tensor, labels: torch.Tensor, scored: torch.Tensor) -> torch.Tensor:
    """Mean binary cross-entropy over the scored rows and all events.

    Parameters
    ----------
    logits, labels : Tensor, shape (B, L, E)
    scored : Tensor of bool, shape (B, L)
    """
    return nn.functional.binary_cross_entropy_with_logits(logits[scored], labels[scored])


@dataclass
class Progress:
    """Where a training stands: all that a later process needs to go on as if never stopped."""

    epoch: int = 0
    batch: int = 0
    loss_sum: float = 0.0
    rows: int = 0
    since_best: int = 0
    best_value: float = -float("inf")
    best_epoch: int = 0
    finished: bool = False


class Checkpoint:
    """Writes and reads the whole state of a training, whole or not at all.

    Parameters
    ----------
    path : Path
        The file, renamed into place.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, progress: Progress, parts: dict[str, Any]) -> None:
        """Write weights, optimiser, random state, position and carried state."""
        hidden = self.path.with_suffix(".writing")
        random = {"cpu": torch.get_rng_state()}
        if torch.cuda.is_available():
            random["cuda"] = torch.cuda.get_rng_state()
        torch.save({"progress": asdict(progress), "random": random, **parts}, hidden)
        os.replace(hidden, self.path)

    def read(self) -> dict[str, Any] | None:
        """Read the last one; None where there is none."""
        if not self.path.exists():
            return None
        stored = torch.load(self.path, map_location="cpu", weights_only=True)
        torch.set_rng_state(stored["random"]["cpu"])
        if "cuda" in stored["random"] and torch.cuda.is_available():
            torch.cuda.set_rng_state(stored["random"]["cuda"])
        stored["progress"] = Progress(**stored["progress"])
        return stored


def train_job(
    scratch: Path, report: Report, job: Job, options: Options, device_name: str, threads: int
) -> None:
    """Train one network and predict with it (the work of one task).

    Writes ``<name>_model.pt``, ``<name>_history.csv`` (a line an epoch) and, for each predicted
    series, ``<series>_logits.npy`` of shape (T', E). A checkpoint in ``scratch`` lets a later call
    go on where this one was cut off, to the same weights bit for bit.

    Parameters
    ----------
    scratch : Path
        Where to write.
    report : callable
        Told the progress in epochs, and each epoch's metrics.
    job : Job
        On what.
    options : Options
        How.
    device_name : str
        See `choose_device`.
    threads : int
        Of this process.

    Raises
    ------
    PipelineError
        When the loss is no longer finite.
    """
    torch.set_num_threads(threads)
    device = choose_device(device_name)
    torch.manual_seed(zlib.crc32(f"{options.seed} {job.name}".encode()))

    fitted = [FeatureSeries.load(job.folder, *key) for key in job.fit]
    others = [FeatureSeries.load(job.folder, *key) for key in job.predict]
    scalers = {
        subject: tuple(
            torch.from_numpy(part)
            for part in Moments.pooled([s.moments for s in fitted if s.subject == subject]).scaler(
                options.train["whiten"]
            )
        )
        for subject in sorted({s.subject for s in fitted})
    }
    shape = {"n_features": fitted[0].features.shape[1], "n_events": len(job.events)}
    network_options = {**shape, **options.model}
    network = Network(**network_options).to(device)
    detector = Detector(network, network_options, scalers, options.window["stride"])  # type: ignore[arg-type]

    batches = Batches(
        [detector.standardise(s.features, s.subject) for s in fitted],
        [torch.from_numpy(np.array(s.labels)) for s in fitted],
    )
    held_out = [detector.standardise(s.features, s.subject) for s in others] if job.validate else []
    truth = np.concatenate([s.labels for s in others]) if job.validate else None  # type: ignore[misc]

    epochs = options.train["epochs"]
    if job.history is not None:
        history_of_twin = pd.read_csv(job.history)
        epochs = int(history_of_twin.loc[history_of_twin["best"], "epoch"].iloc[0])

    checkpoint = Checkpoint(scratch / f"{job.name}_checkpoint.pt")
    best, history = _fit(
        network, batches, epochs, options, report, checkpoint, job, held_out, truth, device
    )
    network.load_state_dict(best)
    detector.save(scratch / f"{job.name}_model.pt")
    history.to_csv(scratch / f"{job.name}_history.csv", index=False)
    for series in others:
        logits = detector.predict(series.features, series.subject)
        np.save(scratch / f"{series_name(series.subject, series.series)}_logits.npy", logits)


def _fit(
    network: Network,
    batches: Batches,
    epochs: int,
    options: Options,
    report: Report,
    checkpoint: Checkpoint,
    job: Job,
    held_out: list[torch.Tensor],
    truth: np.ndarray | None,
    device: torch.device,
) -> tuple[dict[str, torch.Tensor], pd.DataFrame]:
    """Run the epochs; give the chosen weights, and the history with the chosen epoch marked."""
    train, window = options.train, options.window
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=train["learning_rate"], weight_decay=train["weight_decay"]
    )
    progress, state = Progress(), None
    history: list[dict[str, Any]] = []
    best = copy.deepcopy(network.state_dict())
    if stored := checkpoint.read():
        network.load_state_dict(stored["weights"])
        optimiser.load_state_dict(stored["optimiser"])
        progress, history, best = stored["progress"], stored["history"], stored["best"]
        if stored["state"] is not None:
            state = (stored["state"][0].to(device), stored["state"][1].to(device))
        report(float(progress.epoch), {})

    def save() -> None:
        parts = {
            "weights": network.state_dict(), "optimiser": optimiser.state_dict(),
            "history": history, "best": best, "state": None if state is None else list(state),
        }  # fmt: skip
        checkpoint.write(progress, parts)

    saved = told = time.monotonic()
    while progress.epoch < epochs and not progress.finished:
        begun = time.perf_counter()
        begun_rows = progress.rows
        rng = np.random.default_rng([options.seed, progress.epoch])
        plan = plan_epoch(batches.lengths, **window, rng=rng)
        untold = 0.0
        rate = 0.0
        network.train()
        while progress.batch < len(plan):
            share = (progress.epoch + progress.batch / len(plan)) / train["epochs"]
            rate = learning_rate(train["schedule"], train["learning_rate"], share)
            for group in optimiser.param_groups:
                group["lr"] = rate
            x, y, scored = (part.to(device) for part in batches.gather(plan, progress.batch))
            state = _carry(network, state, plan.reset[progress.batch], device)
            if scored.any():
                logits, state = network(x, state)
                loss = masked_bce(logits, y, scored)
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                if train["clip"]:
                    nn.utils.clip_grad_norm_(network.parameters(), train["clip"])
                optimiser.step()
                count = int(scored.sum())
                progress.loss_sum += loss.item() * count
                progress.rows += count
            else:  # a window that is all burn-in only hands its state on
                with torch.no_grad():
                    _, state = network(x, state)
            progress.batch += 1
            untold += 1 / len(plan)
            now = time.monotonic()
            if now - told > 0.5:
                report(untold, {})
                told, untold = now, 0.0
            if now - saved > train["checkpoint_seconds"]:
                save()
                saved = time.monotonic()
        seconds = time.perf_counter() - begun
        mean_loss = progress.loss_sum / max(1, progress.rows)
        if not np.isfinite(mean_loss):
            raise PipelineError(
                f"{job.name}: the loss is {mean_loss} in epoch {progress.epoch + 1}; "
                "lower train.learning_rate or train.clip"
            )
        line: dict[str, Any] = {
            "epoch": progress.epoch + 1,
            "loss": mean_loss,
            "learning_rate": rate,
            "rows_per_second": (progress.rows - begun_rows) / seconds,
        }
        progress.since_best += 1
        if truth is not None:
            line |= _validate(network, held_out, truth, job.events, window["stride"])
            value = line["valid_auc_mean"]
            value = -line["valid_loss"] if value is None else value
            if value > progress.best_value:
                progress.best_value, progress.best_epoch = value, progress.epoch + 1
                progress.since_best, best = 0, copy.deepcopy(network.state_dict())
            progress.finished = progress.since_best >= train["patience"]
        else:
            progress.best_epoch, best = progress.epoch + 1, copy.deepcopy(network.state_dict())
        history.append(line)
        progress.epoch += 1
        progress.batch, progress.loss_sum, progress.rows, state = 0, 0.0, 0, None
        save()
        saved = time.monotonic()
        auc = line.get("valid_auc_mean")
        figure = f"AUC {auc:.4f}" if auc else f"loss {mean_loss:.4f}"
        shown = f"epoch {progress.epoch} {figure}"
        report(untold, {"show": shown, "step": progress.epoch, "metrics": _metrics(line)})
    frame = pd.DataFrame(history)
    frame["best"] = frame["epoch"] == progress.best_epoch
    return best, frame


def _metrics(line: dict[str, Any]) -> dict[str, float]:
    return {k: float(v) for k, v in line.items() if k != "epoch" and v is not None}


def _carry(network: Network, state: State | None, reset: np.ndarray, device: torch.device) -> State:
    """Cut the carried state from its history, and zero it in the lanes that start anew."""
    if state is None:
        return start(network, len(reset))
    keep = torch.from_numpy(~reset).to(device=device, dtype=state[0].dtype)[None, :, None]
    return state[0].detach() * keep, state[1].detach() * keep


def _validate(
    network: Network,
    held_out: list[torch.Tensor],
    truth: np.ndarray,
    events: tuple[str, ...],
    stride: int,
) -> dict[str, float | None]:
    """Predict the held-out series and score them, at the features' rate."""
    logits = np.concatenate([predict(network, features, stride) for features in held_out])
    result = score(truth, logits, events)
    loss = nn.functional.binary_cross_entropy_with_logits(
        torch.from_numpy(logits), torch.from_numpy(truth).float()
    )
    aucs = {f"valid_auc_{name}": auc for name, auc in result.row().items()}
    return {"valid_loss": float(loss), **aucs}
