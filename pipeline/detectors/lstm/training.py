"""The loop: truncated back-propagation through time, validation, checkpoints."""

from __future__ import annotations

import copy
import time
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from pipeline.config.lstm import LstmOptions, Model, Select
from pipeline.data.names import Id
from pipeline.detectors.base import FitData, Line
from pipeline.detectors.device import choose_device
from pipeline.detectors.lstm.batches import Batches, Plan, plan_epoch
from pipeline.detectors.lstm.checkpoint import Checkpoint, Progress
from pipeline.detectors.lstm.loss import masked_bce
from pipeline.detectors.lstm.network import (
    AnyNetwork,
    NetworkArguments,
    State,
    make_network,
    start_at_base_rates,
)
from pipeline.detectors.lstm.optimiser import learning_rate, make_optimiser, set_learning_rate
from pipeline.detectors.lstm.own_projection import Learner, OwnProjection
from pipeline.detectors.lstm.scaling import Scalers, fit_scalers, passing, standardise
from pipeline.errors import PipelineError
from pipeline.features.feature_series import FeatureSeries
from pipeline.results.scoring import held_out_line

TELL_SECONDS = 0.5  # between reports of the progress


class Trained(NamedTuple):
    """What `train` gives: the parts of a detector, and how it came about.

    Parameters
    ----------
    network : Network or Committee
        With the weights that were kept.
    arguments : NetworkArguments
        `make_network` makes the network anew from them.
    scalers : dict of int to (Tensor, Tensor)
        By subject.
    history : list of dict
        A line for each time that the loss was taken.
    """

    network: AnyNetwork
    arguments: NetworkArguments
    scalers: Scalers
    history: list[Line]


Beside = Mapping[tuple[Id, Id], np.ndarray]
"""By subject and series: what another detector says of its rows, shape (T', X), logits first."""


def train(data: FitData, options: LstmOptions, beside: Beside | None = None) -> Trained:
    """Train one network, or a committee.

    A checkpoint, ``<name>_checkpoint.pt`` in ``data.scratch``, lets a later call continue where
    this one was killed, to the same weights bit for bit.

    Parameters
    ----------
    data : FitData
        On what.
    options : LstmOptions
        How.
    beside : mapping, optional
        What another detector says of each series, the held-out ones included. The network learns
        to correct it. It must not come from a model that was fitted to the series' own labels.

    Raises
    ------
    PipelineError
        When the loss is no longer finite, or the series are too short for the batches.
    """
    device = choose_device(data.device)
    torch.manual_seed(zlib.crc32(f"{data.seed} {data.name}".encode()))
    scalers = fit_scalers(data.fitted, data.shared, options.train.whiten)
    n_features = data.fitted[0].features.shape[1]
    arguments = network_arguments(options.model, n_features, len(data.events))
    if beside is not None:
        arguments["beside"] = next(iter(beside.values())).shape[1]
    own = None
    if options.train.own_projection:
        width, dropout = options.model.projection, options.model.input_dropout
        own = OwnProjection(scalers, n_features, width, dropout)
        arguments["n_features"], arguments["projection"] = width, 0  # it stands before the network
        arguments["input_dropout"] = 0.0  # and drops its own input
    network = make_network(**arguments)
    if options.train.prior_bias:
        labels = np.concatenate([np.asarray(series.labels) for series in data.fitted])
        start_at_base_rates(network, labels)
    learner = Learner(network, own).to(device)
    history = Training(data, options, learner, scalers, device, beside).run()
    if own is not None:
        scalers = own.folded(scalers)
    scalers = {subject: passing(one, arguments["beside"]) for subject, one in scalers.items()}
    return Trained(network, arguments, scalers, history)


def network_arguments(model: Model, n_features: int, n_events: int) -> NetworkArguments:
    """Give the arguments of `make_network` that the group ``model`` asks for."""
    return NetworkArguments(
        n_features=n_features,
        n_events=n_events,
        cell=model.cell.name,
        hidden=model.hidden,
        layers=model.layers,
        projection=model.projection,
        kernel=model.kernel,
        dropout=model.dropout,
        input_dropout=model.input_dropout,
        networks=model.networks,
        forget_bias=model.forget_bias,
        init_range=model.init_range,
        beside=0,
    )


class Training:
    """One learner's way through the epochs.

    At each epoch's end, or every ``train.validate_every`` steps, and at the very end, it takes
    stock: a line of the history gets the loss since the line before, and the loss and AUC of the
    held-out series.

    Parameters
    ----------
    data : FitData
        On what.
    options : LstmOptions
        How.
    learner : Learner
        Its weights are changed in place.
    scalers : dict of int to (Tensor, Tensor)
        By subject.
    device : torch.device
        Where the learner is.
    beside : mapping, optional
        See `train`.
    """

    def __init__(
        self,
        data: FitData,
        options: LstmOptions,
        learner: Learner,
        scalers: Scalers,
        device: torch.device,
        beside: Beside | None = None,
    ) -> None:
        self.data, self.options, self.learner, self.device = data, options, learner, device
        self.epochs = float(options.train.epochs) if data.epochs is None else data.epochs

        def ready(series: FeatureSeries) -> torch.Tensor:
            features = standardise(series.features, scalers[series.subject])
            series.release()  # else each row would be held twice
            if beside is None:
                return features
            others = torch.from_numpy(np.array(beside[series.subject, series.series]))
            return torch.cat([features, others], dim=1)

        labels = [torch.from_numpy(np.array(s.labels)) for s in data.fitted]
        self.batches = Batches((ready(series) for series in data.fitted), labels)
        self.subjects = np.array([s.subject for s in data.fitted], dtype=object)
        self.held_out = [(ready(series), series.subject) for series in data.held_out]
        self.truth = [np.asarray(s.labels) for s in data.held_out]
        self.optimiser = make_optimiser(learner, options.train)
        self.checkpoint = Checkpoint(data.scratch / f"{data.name}_checkpoint.pt", device)
        self.progress = Progress()
        self.state: State | None = None
        self.history: list[Line] = []
        self.best = copy.deepcopy(learner.state_dict())
        self._loss = torch.zeros((), device=device)  # summed on the device, to wait for no batch
        self._told = self._saved = self._stock = time.monotonic()
        self._untold = 0.0
        self._resume()
        self._rows_before = self.progress.rows  # of an earlier process: not timed in this one

    def run(self) -> list[Line]:
        """Train, and leave the chosen weights in the learner.

        Returns
        -------
        list of dict
            The history; the line of the chosen weights is marked ``best``.

        Raises
        ------
        PipelineError
            When the loss is no longer finite.
        """
        progress = self.progress
        while not progress.finished:
            plan = self._plan()
            while progress.batch < len(plan) and not progress.finished:
                self._learn_from_batch(plan)
                progress.batch += 1
                progress.step += 1
                done = progress.epoch + progress.batch / len(plan)
                progress.finished = done >= self.epochs - 1e-9
                if progress.finished or self._stock_is_due(plan):
                    self._take_stock(done)
                self._tell(1 / len(plan))
            if progress.batch == len(plan):
                progress.epoch, progress.batch = progress.epoch + 1, 0
            self._save()
        self.learner.load_state_dict(self.best)
        return [line | {"best": line["epoch"] == progress.best_epoch} for line in self.history]

    def _plan(self) -> Plan:
        """Plan the epoch's batches; its random numbers depend on the seed and the epoch alone."""
        rng = np.random.default_rng([self.data.seed, self.progress.epoch])
        return plan_epoch(self.batches.lengths, self.options.window, rng)

    def _stock_is_due(self, plan: Plan) -> bool:
        every = self.options.train.validate_every
        return self.progress.step % every == 0 if every else self.progress.batch == len(plan)

    def _learn_from_batch(self, plan: Plan) -> None:
        """Learn from the next batch: forward, backward, clip, step."""
        how, progress, number = self.options.train, self.progress, self.progress.batch
        rate = learning_rate(how, progress.epoch + number / len(plan))
        set_learning_rate(self.optimiser, rate)
        self.learner.train()
        x, y, scored = self.batches.gather(plan, number)
        count = int(scored.sum())
        x, y, scored = (part.to(self.device) for part in (x, y, scored))
        subjects = self.subjects[plan.series[number]]
        state = carry(self.learner.network, self.state, plan.reset[number], self.device)
        if not count:  # a batch that is all burn-in only hands its state on
            with torch.no_grad():
                _, self.state = self.learner(x, subjects, state)
            return
        logits, self.state = self.learner(x, subjects, state)
        loss = masked_bce(logits, y, scored)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if how.clip_value:
            nn.utils.clip_grad_value_(self.learner.parameters(), how.clip_value)
        if how.clip:
            nn.utils.clip_grad_norm_(self.learner.parameters(), how.clip)
        self.optimiser.step()
        self._loss += loss.detach() * count / self.options.model.networks
        progress.rows += count

    def _take_stock(self, done: float) -> None:
        """Write a line of the history, validate, and keep the weights if they are the best yet."""
        progress, now = self.progress, time.monotonic()
        loss = (progress.loss_sum + float(self._loss)) / max(1, progress.rows)
        if not np.isfinite(loss):
            raise PipelineError(
                f"{self.data.name}: the loss is {loss} after {done:.2f} epochs; "
                "lower train.learning_rate or train.clip"
            )
        line: Line = {
            "epoch": round(done, 9),
            "step": progress.step,
            "loss": loss,
            "learning_rate": self.optimiser.param_groups[0]["lr"],
            "rows_per_second": (progress.rows - self._rows_before) / (now - self._stock),
        }
        if self.held_out:
            logits = np.concatenate([self._predict(*one) for one in self.held_out])
            line |= held_out_line(logits, np.concatenate(self.truth), self.data.events)
        value = self._value(line)
        if value > progress.best_value:
            progress.best_value, progress.best_epoch = value, line["epoch"]
            self.best = copy.deepcopy(self.learner.state_dict())
        self.history.append(line)
        progress.loss_sum, progress.rows, self._rows_before = 0.0, 0, 0
        self._loss.zero_()
        self._tell_line(done, line)
        self._stock = time.monotonic()

    def _value(self, line: Line) -> float:
        """Say what the present weights are worth: the greatest value is kept."""
        select = self.options.train.select
        if not self.held_out or select is Select.last:
            return float(len(self.history))
        if select is Select.auc and line["valid_auc_mean"] is not None:
            return line["valid_auc_mean"]
        return -line["valid_loss"]

    def _predict(self, features: torch.Tensor, subject: Id) -> np.ndarray:
        return self.learner.predict(features, subject, self.options.window.stride)

    def _tell_line(self, done: float, line: Line) -> None:
        """Report a line of the history."""
        auc = line.get("valid_auc_mean")
        figure = f"loss {line['loss']:.4f}" if auc is None else f"AUC {auc:.4f}"
        news = {
            "show": f"epoch {done:.3g} {figure}",
            "step": len(self.history),
            "metrics": {k: float(v) for k, v in line.items() if k != "step" and v is not None},
        }
        self.data.report(self._untold, news)
        self._untold = 0.0

    def _tell(self, epochs: float) -> None:
        """Report the progress and write a checkpoint, each when its time has come."""
        self._untold += epochs
        now = time.monotonic()
        if now - self._told > TELL_SECONDS:
            self.data.report(self._untold, {})
            self._told, self._untold = now, 0.0
        if now - self._saved > self.options.train.checkpoint_seconds:
            self._save()

    def _save(self) -> None:
        """Write a checkpoint."""
        self.progress.loss_sum += float(self._loss)
        self._loss.zero_()
        parts: dict[str, Any] = {
            "weights": self.learner.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "history": self.history,
            "best": self.best,
            "state": None if self.state is None else list(self.state),
        }
        self.checkpoint.write(self.progress, parts)
        self._saved = time.monotonic()

    def _resume(self) -> None:
        """Continue from the checkpoint, where there is one."""
        if not (found := self.checkpoint.read()):
            return
        self.progress, stored = found
        self.learner.load_state_dict(stored["weights"])
        self.optimiser.load_state_dict(stored["optimiser"])
        self.history, self.best = stored["history"], stored["best"]
        if stored["state"] is not None:
            self.state = tuple(part.to(self.device) for part in stored["state"])
        self.data.report(float(self.progress.epoch), {})


def carry(
    network: AnyNetwork, state: State | None, reset: np.ndarray, device: torch.device
) -> State:
    """Cut the carried state from its history, and set it to zero in the lanes that start anew.

    Parameters
    ----------
    network : Network or Committee
        Gives the state of zero.
    state : tuple of Tensor, optional
        After the batch before; None before the first.
    reset : ndarray of bool, shape (B,)
        Which lanes start anew.
    device : torch.device
        Where the state is.
    """
    if state is None or reset.all():
        return network.start(len(reset))
    keep = torch.from_numpy(~reset).to(device=device, dtype=state[0].dtype)[None, :, None]
    return tuple(part.detach() * keep for part in state)
