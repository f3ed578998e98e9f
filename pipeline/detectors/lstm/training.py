"""The loop: truncated back-propagation through time, validation, checkpoints, resume."""

from __future__ import annotations

import copy
import os
import time
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from math import cos, floor, pi
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from pipeline.data.recording import series_name
from pipeline.detectors.lstm.batches import Batches, Plan, plan_epoch
from pipeline.detectors.lstm.network import (
    AnyNetwork,
    Detector,
    Dropout,
    Network,
    Scalers,
    State,
    make_network,
    predict,
)
from pipeline.errors import ConfigError, PipelineError
from pipeline.features.filter_bank import FeatureSeries, Moments
from pipeline.results.scoring import score
from pipeline.work.tasks import Report

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
    held_out : tuple of (int, int)
        (subject, series) whose labels choose the epoch and give the score. If there are none, the
        job trains for as many epochs as the ``history`` of its validating twin says.
    test : tuple of (int, int)
        (subject, series) that are only predicted.
    folder : Path
        Where the features are.
    events : tuple of str
        The columns' names.
    history : Path, optional
        The validating twin's ``_history.csv``.
    scale : tuple of (int, int)
        (subject, series) that one scaler for all subjects is fitted on; empty for a scaler a
        subject, fitted on its own series of ``fit``.
    folds : int
        Of so many folds of the training series it predicts one; 0 if it predicts other series.
    """

    name: str
    fit: tuple[Key, ...]
    held_out: tuple[Key, ...]
    test: tuple[Key, ...]
    folder: Path
    events: tuple[str, ...]
    history: Path | None = None
    scale: tuple[Key, ...] = ()
    folds: int = 0

    def __post_init__(self) -> None:
        seen = set(self.fit) & set(self.predict)
        if seen:
            raise ValueError(f"{self.name} would predict series that it learns from: {seen}")

    @property
    def predict(self) -> tuple[Key, ...]:
        """(subject, series) whose logits are written: never one of ``fit``."""
        return (*self.held_out, *self.test)

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
        Keyword arguments of `plan_epoch` and of `make_network`.
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


def learning_rate(train: dict[str, Any], epochs: float) -> float:
    """Give the learning rate after so many epochs, whole and part.

    Parameters
    ----------
    train : dict
        The group ``train``. Its ``schedule`` is one of

        constant
            Always ``learning_rate``.
        onecycle
            Rises along a cosine from a 25th of it over the first 30 % of ``epochs``, and falls
            along another to zero (Smith & Topin 2018, as `torch.optim.lr_scheduler.OneCycleLR`).
        decay
            Times ``decay``, ``decays_per_epoch`` times an epoch, from epoch ``decay_after`` on.
    epochs : float
        Done so far.
    """
    peak = train["learning_rate"]
    if train["schedule"] == "constant":
        return peak
    if train["schedule"] == "decay":
        late = epochs - train["decay_after"]
        decays = floor(late * train["decays_per_epoch"] + 1e-9) + 1 if late >= 0 else 0
        return peak * train["decay"] ** decays
    progress, rise = epochs / train["epochs"], 0.3
    if progress < rise:
        return peak * (0.04 + 0.96 * 0.5 * (1 - cos(pi * progress / rise)))
    return peak * max(1e-4, 0.5 * (1 + cos(pi * (progress - rise) / (1 - rise))))


def make_optimiser(network: nn.Module, train: dict[str, Any]) -> torch.optim.Optimizer:
    """Make the optimiser that the group ``train`` names.

    Its parameter groups have their factor on the learning rate beside them: the projection's is
    ``projection_rate``.
    """
    named = list(network.named_parameters())
    groups = [
        {"params": [p for name, p in named if "projection" not in name], "factor": 1.0},
        {
            "params": [p for name, p in named if "projection" in name],
            "factor": train["projection_rate"],
        },
    ]
    rate, decay = train["learning_rate"], train["weight_decay"]
    if train["optimiser"] == "rmsprop":
        return torch.optim.RMSprop(groups, lr=rate, alpha=train["smoothing"], weight_decay=decay)
    return torch.optim.AdamW(groups, lr=rate, weight_decay=decay)


def masked_bce(logits: torch.Tensor, labels: torch.Tensor, scored: torch.Tensor) -> torch.Tensor:
    """Mean binary cross-entropy over the scored rows and all events.

    Parameters
    ----------
    logits : Tensor, shape (B, L, E) or (networks, B, L, E)
        With several networks their losses are added up, so that each learns as if it were alone.
    labels : Tensor, shape (B, L, E)
    scored : Tensor of bool, shape (B, L)
    """
    # Weights, because picking the scored rows out costs more, in the backward pass above all.
    weight = scored.to(logits.dtype)[..., None] / (scored.sum() * logits.shape[-1])
    return nn.functional.binary_cross_entropy_with_logits(
        logits, labels.expand_as(logits), weight=weight, reduction="sum"
    )


@dataclass
class Progress:
    """Where a training stands: all that a later process needs to go on as if never stopped.

    ``epoch`` and ``batch`` are the position in the data, ``step`` counts the batches of all
    epochs; ``loss_sum`` and ``rows`` are of what was learned since stock was last taken.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    rows: int = 0
    since_best: int = 0
    best_value: float = -float("inf")
    best_epoch: float = 0.0
    finished: bool = False


class Checkpoint:
    """Writes and reads the whole state of a training, whole or not at all.

    Parameters
    ----------
    path : Path
        The file, renamed into place.
    device : torch.device
        Where the training draws its dropout.
    """

    def __init__(self, path: Path, device: torch.device) -> None:
        self.path, self.device = path, device

    def write(self, progress: Progress, parts: dict[str, Any]) -> None:
        """Write weights, optimiser, random state, position and carried state."""
        hidden = self.path.with_suffix(".writing")
        random = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            random["cuda"] = torch.cuda.get_rng_state(self.device)
        torch.save({"progress": asdict(progress), "random": random, **parts}, hidden)
        os.replace(hidden, self.path)

    def read(self) -> dict[str, Any] | None:
        """Read the last one; None where there is none."""
        if not self.path.exists():
            return None
        stored = torch.load(self.path, map_location="cpu", weights_only=True)
        torch.set_rng_state(stored["random"]["cpu"])
        if "cuda" in stored["random"]:
            torch.cuda.set_rng_state(stored["random"]["cuda"], self.device)
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
    held_out = [FeatureSeries.load(job.folder, *key) for key in job.held_out]
    test = [FeatureSeries.load(job.folder, *key) for key in job.test]
    shape = {"n_features": fitted[0].features.shape[1], "n_events": len(job.events)}
    network_options = {**shape, **options.model}
    scalers = _scalers(job, fitted, options)
    own = None
    if options.train["own_projection"]:
        width = options.model["projection"]
        own = OwnProjection(scalers, shape["n_features"], width, options.model["input_dropout"])
        own.to(device)
        network_options |= {"n_features": width, "projection": 0, "input_dropout": 0.0}
    network = make_network(**network_options).to(device)
    detector = Detector(network, network_options, scalers, options.window["stride"])
    if options.train["prior_bias"]:
        _start_at_base_rates(network, fitted)
    epochs = float(options.train["epochs"])
    if job.history is not None:
        twin = pd.read_csv(job.history)
        epochs = float(twin.loc[twin["best"], "epoch"].iloc[0])
    checkpoint = Checkpoint(scratch / f"{job.name}_checkpoint.pt", device)
    fitting = Fitting(
        detector, fitted, held_out, job.events, options, epochs, checkpoint, report, own
    )
    try:
        history = fitting.run()
    except FloatingPointError as error:
        raise PipelineError(
            f"{job.name}: {error}; lower train.learning_rate or train.clip"
        ) from error
    if own is not None:
        detector = replace(detector, scalers=own.folded(scalers))
    detector.save(scratch / f"{job.name}_model.pt")
    history.to_csv(scratch / f"{job.name}_history.csv", index=False)
    for series in (*held_out, *test):
        logits = detector.predict(series.features, series.subject)
        np.save(scratch / f"{series_name(series.subject, series.series)}_logits.npy", logits)


def _start_at_base_rates(network: AnyNetwork, fitted: list[FeatureSeries]) -> None:
    """Set the output's bias to the events' log-odds, so that no update is spent on learning them.

    With events as rare as these, that is worth more than any later tuning of the second level.
    """
    labels = np.concatenate([np.asarray(series.labels) for series in fitted])
    odds = (labels.sum(axis=0) + 0.5) / (len(labels) - labels.sum(axis=0) + 0.5)
    with torch.no_grad():
        for part in network.modules():
            if isinstance(part, Network):
                part.output.bias.copy_(torch.from_numpy(np.log(odds)))


def _scalers(job: Job, fitted: list[FeatureSeries], options: Options) -> Scalers:
    """Fit what standardises each subject's features."""

    def fit(moments: list[Moments]) -> tuple[torch.Tensor, torch.Tensor]:
        mean, matrix = Moments.pooled(moments).scaler(options.train["whiten"])
        return torch.from_numpy(mean), torch.from_numpy(matrix)

    subjects = sorted({s.subject for s in fitted})
    if job.scale:
        shared = fit([FeatureSeries.load(job.folder, *key).moments for key in job.scale])
        return dict.fromkeys(subjects, shared)
    return {i: fit([s.moments for s in fitted if s.subject == i]) for i in subjects}


class OwnProjection(nn.Module):
    """The linear layer before the LSTM, one for each subject, while one LSTM for all learns.

    Every head conducts in its own way, but what hands do next is much the same in all: so each
    subject's features go through their own layer into what all subjects' trials have taught.
    Linear as it is, it is a scaler's matrix in the end: `folded` leaves nothing of it to the
    network that predicts.

    Parameters
    ----------
    subjects : iterable of int
        Whose.
    n_features, width : int
        F and P.
    dropout : float
        Of the features.
    """

    def __init__(
        self, subjects: Iterable[int], n_features: int, width: int, dropout: float
    ) -> None:
        super().__init__()
        self.rows = {subject: row for row, subject in enumerate(sorted(subjects))}
        weight = torch.empty(len(self.rows), n_features, width)
        self.weight = nn.Parameter(weight.uniform_(-1, 1) / n_features**0.5)  # nn.Linear's start
        self.dropout = Dropout(dropout)

    def forward(self, x: torch.Tensor, subjects: np.ndarray) -> torch.Tensor:
        """Project a batch of sequences, (B, L, F), of as many subjects, (B,)."""
        rows = torch.tensor([self.rows[int(s)] for s in subjects], device=x.device)
        return torch.bmm(self.dropout(x), self.weight[rows])

    @torch.no_grad()
    def project(self, features: torch.Tensor, subject: int) -> torch.Tensor:
        """Project one series of a subject, (T', F), on the CPU."""
        return features @ self.weight[self.rows[subject]].cpu()

    @torch.no_grad()
    def folded(self, scalers: Scalers) -> Scalers:
        """Give scalers that standardise and project at once: means, (F,), matrices, (F, P)."""
        weight = self.weight.cpu()
        return {s: (mean, matrix @ weight[self.rows[s]]) for s, (mean, matrix) in scalers.items()}


class Fitting:
    """One network's way through the epochs.

    Stock is taken at each epoch's end, or every ``train.validate_every`` steps, and at the end:
    the loss since last time, the held-out series' loss and AUC, a line of the history.

    Parameters
    ----------
    detector : Detector
        Whose network learns.
    fitted, held_out : list of FeatureSeries
        Learned from; predicted each time stock is taken.
    events : tuple of str
        The columns' names.
    options : Options
        How.
    epochs : float
        How long, at most.
    checkpoint : Checkpoint
        Read at the start, written as it goes.
    report : callable
        Told the progress in epochs, and what each taking stock found.
    own : OwnProjection, optional
        Learns with the network.
    """

    def __init__(
        self,
        detector: Detector,
        fitted: list[FeatureSeries],
        held_out: list[FeatureSeries],
        events: tuple[str, ...],
        options: Options,
        epochs: float,
        checkpoint: Checkpoint,
        report: Report,
        own: OwnProjection | None = None,
    ) -> None:
        self.network, self.own, self.options, self.events = detector.network, own, options, events
        self.learner = nn.ModuleDict({"network": self.network})
        if own is not None:
            self.learner["own_projection"] = own
        self.train, self.epochs = options.train, epochs
        self.checkpoint, self.report = checkpoint, report
        self.device = next(self.network.parameters()).device
        self.batches = Batches(
            (detector.standardise(s.features, s.subject) for s in fitted),
            [torch.from_numpy(np.array(s.labels)) for s in fitted],
        )
        self.subjects = np.array([s.subject for s in fitted])
        self.held_out = [(detector.standardise(s.features, s.subject), s.subject) for s in held_out]
        self.truth = np.concatenate([np.asarray(s.labels) for s in held_out]) if held_out else None
        self.optimiser = make_optimiser(self.learner, self.train)
        self.progress = Progress()
        self.state: State | None = None
        self.history: list[dict[str, Any]] = []
        self.best = copy.deepcopy(self.learner.state_dict())
        self._loss = torch.zeros((), device=self.device)  # summed there, so that none is waited for
        self._told = self._saved = self._stock = time.monotonic()
        self._untold = 0.0
        self._resume()
        self._rows_before = self.progress.rows  # an earlier process's: not to be timed in this one

    def run(self) -> pd.DataFrame:
        """Train, leave the chosen weights in the network, and give the history.

        Returns
        -------
        DataFrame
            A line each time stock was taken; the chosen one is marked ``best``.

        Raises
        ------
        FloatingPointError
            When the loss is no longer finite.
        """
        progress, every = self.progress, self.train["validate_every"]
        while not progress.finished:
            rng = np.random.default_rng([self.options.seed, progress.epoch])
            plan = plan_epoch(self.batches.lengths, **self.options.window, rng=rng)
            while progress.batch < len(plan) and not progress.finished:
                done = progress.epoch + progress.batch / len(plan)
                self._step(plan, done)
                progress.batch += 1
                progress.step += 1
                done = progress.epoch + progress.batch / len(plan)
                over = done >= self.epochs - 1e-9
                due = progress.step % every == 0 if every else progress.batch == len(plan)
                if over or due:
                    self._take_stock(done)
                    progress.finished |= over
                self._tell(1 / len(plan))
            if progress.batch == len(plan):
                progress.epoch, progress.batch = progress.epoch + 1, 0
            self._save()
        self.learner.load_state_dict(self.best)
        frame = pd.DataFrame(self.history)
        frame["best"] = frame["epoch"] == progress.best_epoch
        return frame

    def _step(self, plan: Plan, done: float) -> None:
        """Learn from one batch."""
        rate = learning_rate(self.train, done)
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["factor"]
        self.learner.train()
        number = self.progress.batch
        x, y, scored = self.batches.gather(plan, number)
        count = int(scored.sum())
        x, y, scored = (part.to(self.device) for part in (x, y, scored))
        state = _carry(self.network, self.state, plan.reset[number], self.device)
        subjects = self.subjects[plan.series[number]]
        if not count:  # a window that is all burn-in only hands its state on
            with torch.no_grad():
                _, self.state = self._forward(x, subjects, state)
            return
        logits, self.state = self._forward(x, subjects, state)
        loss = masked_bce(logits, y, scored)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if self.train["clip_value"]:
            nn.utils.clip_grad_value_(self.learner.parameters(), self.train["clip_value"])
        if self.train["clip"]:
            nn.utils.clip_grad_norm_(self.learner.parameters(), self.train["clip"])
        self.optimiser.step()
        self._loss += loss.detach() * count / self.options.model["networks"]
        self.progress.rows += count

    def _forward(
        self, x: torch.Tensor, subjects: np.ndarray, state: State
    ) -> tuple[torch.Tensor, State]:
        """Run the network over a batch, through each lane's subject's own projection."""
        return self.network(x if self.own is None else self.own(x, subjects), state)

    def _take_stock(self, done: float) -> None:
        """Validate, keep the best weights, and write a line of the history."""
        progress = self.progress
        seconds = time.monotonic() - self._stock
        loss = (progress.loss_sum + float(self._loss)) / max(1, progress.rows)
        if not np.isfinite(loss):
            raise FloatingPointError(f"the loss is {loss} after {done:.2f} epochs")
        line: dict[str, Any] = {
            "epoch": round(done, 9),
            "step": progress.step,
            "loss": loss,
            "learning_rate": self.optimiser.param_groups[0]["lr"],
            "rows_per_second": (progress.rows - self._rows_before) / seconds,
        }
        progress.since_best += 1
        value = float(len(self.history))  # without held-out series the last is the one to keep
        if self.truth is not None:
            line |= held_out_line(self._predict_held_out(), self.truth, self.events)
            auc = line["valid_auc_mean"] if self.train["select"] == "auc" else None
            if self.train["select"] != "last":
                value = -line["valid_loss"] if auc is None else auc
        if value > progress.best_value:
            progress.best_value, progress.best_epoch = value, line["epoch"]
            progress.since_best, self.best = 0, copy.deepcopy(self.learner.state_dict())
        progress.finished = progress.since_best >= self.train["patience"]
        self.history.append(line)
        progress.loss_sum, progress.rows, self._rows_before = 0.0, 0, 0
        self._loss.zero_()
        auc = line.get("valid_auc_mean")
        figure = f"AUC {auc:.4f}" if auc else f"loss {loss:.4f}"
        news = {
            "show": f"epoch {done:.3g} {figure}",
            "step": len(self.history),
            "metrics": {k: float(v) for k, v in line.items() if k != "step" and v is not None},
        }
        self.report(self._untold, news)
        self._untold, self._stock = 0.0, time.monotonic()

    def _predict_held_out(self) -> np.ndarray:
        """Predict the held-out series, at the features' rate."""
        logits = []
        for features, subject in self.held_out:
            x = features if self.own is None else self.own.project(features, subject)
            logits.append(predict(self.network, x, self.options.window["stride"]))
        return np.concatenate(logits)

    def _tell(self, epochs: float) -> None:
        """Pass progress on, and write a checkpoint, each when it is time."""
        self._untold += epochs
        now = time.monotonic()
        if now - self._told > 0.5:
            self.report(self._untold, {})
            self._told, self._untold = now, 0.0
        if now - self._saved > self.train["checkpoint_seconds"]:
            self._save()

    def _save(self) -> None:
        self.progress.loss_sum += float(self._loss)
        self._loss.zero_()
        parts = {
            "weights": self.learner.state_dict(), "optimiser": self.optimiser.state_dict(),
            "history": self.history, "best": self.best,
            "state": None if self.state is None else list(self.state),
        }  # fmt: skip
        self.checkpoint.write(self.progress, parts)
        self._saved = time.monotonic()

    def _resume(self) -> None:
        if not (stored := self.checkpoint.read()):
            return
        self.learner.load_state_dict(stored["weights"])
        self.optimiser.load_state_dict(stored["optimiser"])
        self.progress, self.history, self.best = (
            stored["progress"], stored["history"], stored["best"],
        )  # fmt: skip
        if stored["state"] is not None:
            self.state = tuple(part.to(self.device) for part in stored["state"])
        self.report(float(self.progress.epoch), {})


def _carry(
    network: AnyNetwork, state: State | None, reset: np.ndarray, device: torch.device
) -> State:
    """Cut the carried state from its history, and zero it in the lanes that start anew."""
    if state is None or reset.all():
        return network.start(len(reset))
    keep = torch.from_numpy(~reset).to(device=device, dtype=state[0].dtype)[None, :, None]
    return tuple(part.detach() * keep for part in state)


def held_out_line(
    logits: np.ndarray, truth: np.ndarray, events: tuple[str, ...]
) -> dict[str, float | None]:
    """Score held-out logits, (T', E), at the features' rate: ``valid_loss`` and ``valid_auc_*``."""
    result = score(truth, logits, events)
    loss = nn.functional.binary_cross_entropy_with_logits(
        torch.from_numpy(logits), torch.from_numpy(truth).float()
    )
    aucs = {f"valid_auc_{name}": auc for name, auc in result.row().items()}
    return {"valid_loss": float(loss), **aucs}
