"""Every stage's tasks: what each reads and writes, and its slice of the configuration.

The way is one-directional. `run` goes along it as far as the configuration's ``stage`` says.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from omegaconf import OmegaConf

from pipeline.config.options import Config, Kind, Scaler, Scope, Source, Stage, plain
from pipeline.config.paths import path
from pipeline.data import kaggle_files as ingest
from pipeline.data import recording
from pipeline.data import simulator as simulate
from pipeline.data.kaggle_files import RawSeries
from pipeline.data.recording import Description, Recording, series_name
from pipeline.detectors import linear, semi_markov, taps
from pipeline.detectors import tap_networks as windowed
from pipeline.detectors.lstm import batches as windows
from pipeline.detectors.lstm import cell as lstm
from pipeline.detectors.lstm import network as detector
from pipeline.detectors.lstm import training
from pipeline.detectors.lstm.training import Job, Options
from pipeline.errors import ConfigError
from pipeline.features import filter_bank as filtering
from pipeline.features import member_logits as stack
from pipeline.results import evoked, scoring, submission, uncertainty
from pipeline.results import figures as report
from pipeline.results.scoring import Score
from pipeline.serving import fitted_recipe as serving
from pipeline.serving.fitted_recipe import DETECTORS, AnyDetector
from pipeline.tracking.models import FittedModel
from pipeline.tracking.runs import Tracker
from pipeline.work.tasks import (
    Folder,
    Report,
    Summary,
    Task,
    code_digest,
    contents,
    cores,
    digest,
    threads_each,
    write_text,
    write_whole,
)
from pipeline.work.tasks import run as run_tasks

Key = tuple[int, int]
Say = Callable[[str], None]

# By method.kind: the module whose `fit` learns what is not the LSTM.
FITS = {
    Kind.lda: linear, Kind.lr: linear, Kind.gru: windowed, Kind.cnn: windowed,
    Kind.semi_markov: semi_markov,
}  # fmt: skip

# What is drawn of the held-out series, with the headings in the report.
PICTURES = {
    "roc": "ROC curves",
    "probabilities": "Probabilities, and the true events",
    "subjects": "AUC by subject and event",
    "reliability": "Reliability of the probabilities",
    "learning": "Learning curves",
}


@dataclass(frozen=True)
class Result:
    """Where a command's results are.

    Parameters
    ----------
    folder : Path or None
        The recipe's folder of results; None where the command stopped before.
    submission : Path or None
        The submission.
    auc : DataFrame or None
        AUC per event and their mean: pooled, per subject, and the subjects' mean.
    """

    folder: Path | None = None
    submission: Path | None = None
    auc: pd.DataFrame | None = None


class Flow:
    """The stages of one configuration.

    Parameters
    ----------
    config : Config
        Composed and checked.
    say : callable
        Prints a line.
    """

    def __init__(self, config: Config, say: Say = print) -> None:
        self.config, self.say = config, say
        data = config.dataset
        self.about = Description(
            tuple(data.channels), tuple(data.events), data.rate, data.unit_volts, data.montage
        )
        self.derived = path(config.data_dir) / "derived" / data.name
        self.labelled = [*data.train_series, *data.valid_series]
        self.unlabelled = list(data.test_series)
        self.cores = cores()
        self.workers = config.workers or self.cores
        self.members = [Flow(member, say) for member in stack.member_configs(config)]
        self.every = (
            config.stack.every if self.members else config.filter.subsample * config.filter.decimate
        )
        self.tracker = Tracker(config, self.name, self.results_folder.path / ".mlflow_runs.json")
        self.label = ""  # before the names of what is recorded
        for text, member in zip(config.stack.members, self.members, strict=True):
            member.tracker, member.label = self.tracker, re.sub(r"[^\w .]+", "-", text) + " "

    # ---- folders: one a stage and configuration ------------------------------------------------

    def _folder(
        self, stage: str, options: object, code: list, packages: list[str], up: Folder | None
    ) -> Folder:
        return Folder(
            self.derived, stage, options, code_digest(code, packages), up.key if up else ""
        )

    @cached_property
    def simulate_folder(self) -> Folder:
        """Simulated raw files."""
        options = plain(self.config.dataset.simulation)
        # How many subjects and series there are changes none of them, so it makes no new folder.
        slim = {k: v for k, v in options.items() if k not in ("subjects", "series")}
        return self._folder("simulate", slim, [simulate], ["numpy", "scipy", "mne"], None)

    @property
    def raw(self) -> Path:
        """Where the raw files lie; never written to, except by the simulator."""
        if self.config.dataset.source is Source.simulated:
            return self.simulate_folder.path
        if not self.config.dataset.raw:
            raise ConfigError("dataset.raw=null: name the folder that holds Kaggle's files")
        return path(self.config.dataset.raw)

    @cached_property
    def ingest_folder(self) -> Folder:
        """Recordings."""
        simulated = self.config.dataset.source is Source.simulated
        options = {"channels": list(self.about.channels), "events": list(self.about.events)}
        up = self.simulate_folder if simulated else None
        return self._folder("ingest", options, [ingest, recording], ["pyarrow", "numpy"], up)

    @cached_property
    def feature_folder(self) -> Folder:
        """Features: filtered EEG, or other recipes' logits."""
        if self.members:
            keys = [member.train_folder.key for member in self.members]
            read = [keys, self.every, self.config.stack.folds]
            return self._folder("stack", read, [stack], ["numpy"], None)
        options = {"rate": self.about.rate, **plain(self.config.filter)}
        packages = ["mne", "scipy", "numpy"]
        return self._folder("filter", options, [filtering], packages, self.ingest_folder)

    @property
    def options(self) -> Options:
        """What training reads of the configuration."""
        c = self.config
        return Options(plain(c.window), plain(c.model), plain(c.train), c.seed)

    @property
    def by_windows(self) -> bool:
        """Whether it is the LSTM, which learns from windows; `taps` fits the others."""
        return self.config.method.kind is Kind.lstm

    @property
    def method(self) -> dict:
        """What the fit of a detector other than the LSTM reads of the configuration."""
        group, module = plain(self.config.method), FITS[self.config.method.kind]
        method = {key: group[key] for key in (*taps.READS, *module.READS)}
        if module is not windowed:
            return method  # fitted exactly, on the CPU
        return {**method, "seed": self.config.seed, "device": self.config.device}

    def work(self, job: Job, threads: int) -> tuple[Callable[..., None], tuple]:
        """Give what a training calls, and its arguments after ``scratch`` and ``report``."""
        if self.by_windows:
            return training.train_job, (job, self.options, self.config.device, threads)
        return taps.fit_job, (job, FITS[self.config.method.kind].fit, self.method, threads)

    def load(self, job: Job) -> AnyDetector:
        """Load what a job has fitted."""
        return DETECTORS[self.config.method.kind.name].load(self.model_file(job))

    def model_file(self, job: Job) -> Path:
        """Say where a job's model is."""
        return self.place(job).path / f"{job.name}_model.pt"

    def place(self, job: Job) -> Folder:
        """Say where what a training makes is kept: that of folds with those of as many folds."""
        if not job.folds:
            return self.train_folder
        return Folder(self.derived, "folds", job.folds, "", self.train_folder.key)

    def export(self, found: list[RawSeries], folder: Path) -> None:
        """Copy what predicts the test series into a folder, for `FittedRecipe`."""
        jobs = self.last_jobs(found)
        models = {self.model_file(job): sorted({s for s, _ in job.fit}) for job in jobs}
        bank = None if self.members else plain(self.config.filter)
        kind = self.config.method.kind.name
        serving.export(folder, self.about, self.every, bank, kind, models, len(self.members))
        for number, member in enumerate(self.members):
            member.export(found, folder / f"member{number}")

    @cached_property
    def train_folder(self) -> Folder:
        """Models, histories and held-out logits."""
        c, o = self.config, self.options
        # How often a checkpoint is written changes nothing that is learned.
        loop = {k: v for k, v in o.train.items() if k != "checkpoint_seconds"}
        device = str(training.choose_device(c.device).type)
        splits = [list(c.dataset.train_series), list(c.dataset.valid_series)]
        alone = c.train.scope is Scope.subject and c.train.scaler is Scaler.subject
        scope = [] if alone else self.subjects  # the models depend on one another's
        options = [o.window, o.model, loop, o.seed, splits, self.unlabelled, device, scope]
        code = [training, windows, detector, lstm, scoring]
        if not self.by_windows:
            # Nothing of the LSTM's groups matters, so changing them must not fit anew.
            method = self.method | ({"device": device} if "device" in self.method else {})
            options = [method, splits, self.unlabelled, c.train.refit, c.train.scope.name]
            code = [FITS[c.method.kind], taps, scoring]
        return self._folder("train", options, code, ["torch", "numpy"], self.feature_folder)

    @property
    def name(self) -> str:
        """The recipe with a short id of all that it depends on; says if it is simulated."""
        return f"{self.config.recipe}-{self.config.dataset.name}-{self.results_folder.key[:6]}"

    @cached_property
    def results_folder(self) -> Folder:
        """Tables, pictures and the submission: what people look at."""
        options = [self.config.recipe, self.subjects]
        code = code_digest([report, evoked, scoring, submission, detector, uncertainty])
        parent = path(self.config.output_dir) / self.config.dataset.name
        return Folder(parent, self.config.recipe, options, code, self.train_folder.key)

    @property
    def settings(self) -> str:
        """The whole configuration, as people read it."""
        return OmegaConf.to_yaml(OmegaConf.structured(self.config))

    @property
    def subjects(self) -> list[int]:
        """The subjects that are named; none named are all that are there."""
        data = self.config.dataset
        if data.source is Source.simulated and not data.subjects:
            return list(range(1, data.simulation.subjects + 1))
        return sorted(data.subjects)

    # ---- tasks --------------------------------------------------------------------------------

    def run(
        self,
        title: str,
        tasks: list[Task],
        workers: int = 1,
        listen: Callable[[str, dict], None] | None = None,
    ) -> Summary:
        """Do a stage's tasks; what it took is recorded with the run."""
        summary = run_tasks(title, tasks, workers, listen, self.say)
        if summary.done:
            self.tracker.took(f"{self.label}{title}", summary.seconds)
        return summary

    def simulate(self) -> None:
        """Write the simulated raw files, as Kaggle ships its own."""
        sim = self.config.dataset.simulation
        tasks = []
        for subject in self.subjects:
            for series in sorted([*self.labelled, *self.unlabelled]):
                name, labelled = series_name(subject, series), series in self.labelled
                half = "train" if labelled else "test"
                files = [f"{half}/{name}_data.csv"]
                if labelled:
                    files.append(f"{half}/{name}_events.csv")
                tasks.append(
                    Task(
                        self.simulate_folder, name, (), tuple(files), simulate_raw,
                        (plain(sim), self.about.rate, subject, series, half, labelled),
                    )
                )  # fmt: skip
        self.run("simulate", tasks, self.workers)

    def found(self) -> list[RawSeries]:
        """List the raw series that the splits name, ordered by (subject, series)."""
        return ingest.find_series(self.raw, self.subjects, self.labelled, self.unlabelled)

    def ingest(self, found: list[RawSeries]) -> None:
        """Turn raw files into recordings."""
        tasks = [
            Task(
                self.ingest_folder, raw.name, raw.paths, ingest.outputs(raw), ingest.ingest_series,
                (raw, list(self.about.channels), list(self.about.events)),
            )
            for raw in found
        ]  # fmt: skip
        self.run("ingest", tasks, self.workers)

    def filter(self, found: list[RawSeries]) -> None:
        """Turn recordings into features."""
        if self.members:
            self.stack([raw for raw in found if raw.series in self.labelled], found)
            return
        options = plain(self.config.filter)
        tasks = []
        for raw in found:
            kinds = ["features.npy", "moments.npz"] + (["labels.npy"] if raw.events else [])
            tasks.append(
                Task(
                    self.feature_folder, raw.name,
                    tuple(self.ingest_folder.path / o for o in ingest.outputs(raw)),
                    tuple(f"{raw.name}_{kind}" for kind in kinds), filtering.filter_series,
                    (self.ingest_folder.path, raw.subject, raw.series, self.about, options),
                )
            )  # fmt: skip
        self.run("filter", tasks, self.workers)

    def stack(self, wanted: list[RawSeries], found: list[RawSeries]) -> None:
        """Turn recordings into the members' logits: the labelled ones, or the others."""
        labelled = all(raw.series in self.labelled for raw in wanted)
        parts: dict[Key, list[tuple[Path, int]]] = {(raw.subject, raw.series): [] for raw in wanted}
        for text, member in zip(self.config.stack.members, self.members, strict=True):
            self.say(f"\nmember   {text}")
            if labelled:
                member.filter(found)
                jobs = member.jobs(found, final=False)
                jobs += member.fold_jobs(found, self.config.stack.folds)
                member.fit(found, jobs, "folds")
            else:
                member.train(found, final=True)
                jobs = member.last_jobs(found)
            for job in jobs:
                for key in job.predict:
                    if key in parts:
                        file = member.place(job).path / f"{series_name(*key)}_logits.npy"
                        parts[key].append((file, member.every))
        tasks = []
        for raw in wanted:
            kinds = ["features.npy", "moments.npz"] + (["labels.npy"] if raw.events else [])
            logits = parts[raw.subject, raw.series]
            signal = self.ingest_folder.path / f"{raw.name}_signal.npy"
            events = self.ingest_folder.path / f"{raw.name}_events.npy" if raw.events else None
            tasks.append(
                Task(
                    self.feature_folder, raw.name,
                    (*(path for path, _ in logits), signal, *([events] if events else [])),
                    tuple(f"{raw.name}_{kind}" for kind in kinds), stack.combine_series,
                    (raw.subject, raw.series, logits, self.every, signal, events),
                )
            )  # fmt: skip
        self.say("")
        self.run("stack", tasks, self.workers)

    def groups(self, found: list[RawSeries]) -> dict[str, list[int]]:
        """Say which subjects share a model, by the model's name."""
        subjects = sorted({raw.subject for raw in found})
        if self.config.train.scope is Scope.subject:
            return {f"subj{s}": [s] for s in subjects}
        return {"all": subjects}

    def jobs(self, found: list[RawSeries], final: bool) -> list[Job]:
        """Plan the trainings: validating ones, or the final ones that follow them.

        Without ``train.refit`` the validating models predict the test series, and none follow.
        """
        data, train = self.config.dataset, self.config.train
        if final and not train.refit:
            return []
        fit = self.labelled if final else list(data.train_series)
        held_out = [] if final else list(data.valid_series)
        test = self.unlabelled if final or not train.refit else []
        jobs = self._jobs(found, "final" if final else "validate", fit, held_out, test)
        if not final:
            return jobs
        folder = self.train_folder.path
        return [
            replace(job, history=folder / f"{group}_validate_history.csv")
            for job, group in zip(jobs, self.groups(found), strict=True)
        ]

    def last_jobs(self, found: list[RawSeries]) -> list[Job]:
        """Say which trainings predict the test series."""
        return self.jobs(found, final=True) or self.jobs(found, final=False)

    def fold_jobs(self, found: list[RawSeries], count: int) -> list[Job]:
        """Plan the trainings that predict the training series themselves, a fold at a time."""
        series, jobs = list(self.config.dataset.train_series), []
        for fold in stack.folds(series, count):
            rest = [s for s in series if s not in fold]
            name = "without" + "-".join(str(s) for s in fold)
            jobs += [replace(job, folds=count) for job in self._jobs(found, name, rest, [], fold)]
        return jobs

    def _jobs(
        self,
        found: list[RawSeries],
        name: str,
        fit: list[int],
        held_out: list[int],
        test: list[int],
    ) -> list[Job]:
        """Plan a training for each model, on these series."""
        everyone = sorted({raw.subject for raw in found})
        scale = {
            Scaler.subject: [], Scaler.shared: fit, Scaler.shared_labelled: self.labelled
        }[self.config.train.scaler]  # fmt: skip
        return [
            Job(
                f"{group}_{name}",
                tuple((s, r) for s in subjects for r in sorted(fit)),
                tuple((s, r) for s in subjects for r in sorted(held_out)),
                tuple((s, r) for s in subjects for r in sorted(test)),
                self.feature_folder.path,
                self.about.events,
                None,
                tuple((s, r) for s in everyone for r in sorted(scale)),
            )
            for group, subjects in self.groups(found).items()
        ]

    def window(self, found: list[RawSeries]) -> None:
        """Say how the features are cut into sequences; training cuts them so, in memory."""
        if not self.by_windows:
            return  # row by row
        for job in self.jobs(found, final=False):
            lengths = [
                len(np.load(job.folder / f"{series_name(*key)}_labels.npy", mmap_mode="r"))
                for key in job.fit
            ]
            plan = windows.plan_epoch(lengths, **plain(self.config.window))
            table = plan.table()
            self.say(
                f"window   {job.name}: {len(lengths)} series, {table['scored'].sum():,} rows "
                f"-> {len(plan)} batches of up to {plan.series.shape[1]} x {plan.length} rows, "
                f"{int(plan.reset.sum())} streams"
            )

    def train(self, found: list[RawSeries], final: bool) -> None:
        """Fit the validating models, or the final ones."""
        if final and self.members:
            self.stack([raw for raw in found if raw.series in self.unlabelled], found)
        self.fit(found, self.jobs(found, final), "final" if final else "train")

    def fit(self, found: list[RawSeries], jobs: list[Job], title: str) -> None:
        """Fit models, each in a process of its own while there are cores."""
        if not jobs:
            return
        workers = min(self.workers, len(jobs))
        device = self.config.device
        on_device = self.by_windows or "device" in self.method
        if training.choose_device(device).type != "cpu" and on_device:
            workers = min(self.config.workers or 1, len(jobs))  # a GPU is not shared unasked
        threads = threads_each(workers)
        series = {(raw.subject, raw.series): raw for raw in found}
        tasks = []
        for job in jobs:
            files = [
                job.folder / f"{series_name(*key)}_{kind}"
                for key in (*job.fit, *job.predict)
                for kind in ("features.npy", "moments.npz", "labels.npy")
                if kind != "labels.npy" or series[key].events
            ]
            others = set(job.scale) - set(job.fit) - set(job.predict)
            files += [job.folder / f"{series_name(*k)}_moments.npz" for k in sorted(others)]
            twin = (job.history,) if job.history else ()
            work, arguments = self.work(job, threads)
            tasks.append(
                Task(
                    self.place(job), job.name, (*files, *twin), job.outputs(), work, arguments,
                    weight=float(self.config.train.epochs) if self.by_windows else 1.0,
                    resumable=self.by_windows,
                )
            )  # fmt: skip
        summary = self.run(title, tasks, workers, self.listen)
        histories = {
            f"{self.label}{job.name}": self.place(job).path / f"{job.name}_history.csv"
            for job in jobs
            if self.is_recorded(job.name)
        }
        self.tracker.trained(histories, bool(summary.done))

    def is_recorded(self, training: str) -> bool:
        """Tell whether a training has a run of its own; of a stack's members only the scored."""
        return not self.label or training.endswith("_validate")

    def listen(self, task: str, news: dict) -> None:
        """Pass on what a training reports."""
        if self.is_recorded(task):
            self.tracker.listen(f"{self.label}{task}", news)

    def file(self, kind: str, suffix: str) -> str:
        """Name a result, with the data set's name in it, so that no simulated one is mistaken."""
        return f"{kind}_{self.config.dataset.name}.{suffix}"

    def evaluate(self, found: list[RawSeries]) -> pd.DataFrame:
        """Score the validating models on their held-out series, as Kaggle would."""
        jobs = self.jobs(found, final=False)
        keys = sorted(key for job in jobs for key in job.held_out)
        logits = [self.train_folder.path / f"{series_name(*key)}_logits.npy" for key in keys]
        labels = [self.ingest_folder.path / f"{series_name(*key)}_events.npy" for key in keys]
        histories = [self.train_folder.path / f"{job.name}_history.csv" for job in jobs]
        outputs = [self.file("auc", "csv"), *(self.file(kind, "png") for kind in PICTURES)]
        task = Task(
            self.results_folder, "evaluate", (*logits, *labels, *histories), tuple(outputs),
            evaluate_work,
            (keys, logits, labels, histories, outputs, self.about, self.every,
             self.name),
        )  # fmt: skip
        done = self.run("evaluate", [task]).done + self.report(found, task.paths()).done
        auc = pd.read_csv(task.paths()[0], index_col=0)
        if self.tracker.wants(bool(done)):
            self.record_scores(found, auc)
        return auc

    def report(self, found: list[RawSeries], results: list[Path]) -> Summary:
        """Put table, pictures and the data set's evoked responses into one HTML file."""
        options = [self.about.rate, self.about.unit_volts, self.about.montage]
        up = self.ingest_folder
        folder = self._folder("evoked", options, [evoked, recording], ["mne"], up)
        series = [raw for raw in found if raw.events]
        tasks = [
            Task(
                folder, raw.name, tuple(up.path / output for output in ingest.outputs(raw)),
                (f"{raw.name}-ave.fif",), evoked.average_series,
                (up.path, raw.subject, raw.series, self.about),
            )
            for raw in series
        ]  # fmt: skip
        self.run("evoked", tasks, self.workers)
        averages = [path for task in tasks for path in task.paths()]
        outputs = (self.file("evoked", "png"), self.file("report", "html"))
        task = Task(
            self.results_folder, "report", (*results, *averages), outputs, report_work,
            (results, averages, outputs, self.name, self.config.dataset.name, self.settings),
        )  # fmt: skip
        return self.run("report", [task])

    def record_scores(self, found: list[RawSeries], auc: pd.DataFrame) -> None:
        """Tell MLflow the scores, the files and the data that they came from."""
        pooled = auc.loc["pooled"].dropna()
        self.tracker.metrics({f"auc_{event}": value for event, value in pooled.items()})
        self.tracker.metrics({f"auc_{name}": row["mean"] for name, row in auc.dropna().iterrows()})
        self.tracker.describe(
            f"Area under the ROC curve, series {list(self.config.dataset.valid_series)}\n\n"
            f"{scoring.show(auc)}\n\n`pooled_low` to `pooled_high`: 95 % over trials."
        )
        kinds = [("auc", "csv"), ("report", "html"), *((k, "png") for k in (*PICTURES, "evoked"))]
        self.tracker.files([self.results_folder.path / self.file(*kind) for kind in kinds])
        signals = [self.ingest_folder.path / f"{raw.name}_signal.npy" for raw in found]
        rows = sum(len(np.load(path, mmap_mode="r")) for path in signals)
        raw_files = digest(contents([path for raw in found for path in raw.paths]))
        self.tracker.data(raw_files, str(self.raw), rows, len(found))

    def record_model(self, found: list[RawSeries], submitted: Path) -> None:
        """Give MLflow the submission, and the model that made it."""
        self.tracker.files([submitted])
        first = next(raw for raw in found if raw.series in self.unlabelled)
        path = self.ingest_folder.path
        samples = Recording.load(path, first.subject, first.series, self.about).signal[:200]
        example = pd.DataFrame(np.asarray(samples), columns=list(self.about.channels))
        with TemporaryDirectory() as scratch:
            self.export(found, Path(scratch) / "recipe")
            auc = pd.read_csv(self.results_folder.path / self.file("auc", "csv"), index_col=0)
            self.tracker.model(
                FittedModel(
                    Path(scratch) / "recipe", example, self.about.events, first.subject, auc
                )
            )

    def submit(self, found: list[RawSeries]) -> Path:
        """Write the final models' predictions of the test series, checked."""
        keys = sorted((raw.subject, raw.series) for raw in found if raw.series in self.unlabelled)
        logits = [self.train_folder.path / f"{series_name(*key)}_logits.npy" for key in keys]
        signals = [self.ingest_folder.path / f"{series_name(*key)}_signal.npy" for key in keys]
        sample = ingest.find_sample(self.raw)
        output = self.file("submission", "csv")
        inputs = (*logits, *signals, *([sample.path] if sample else []))
        task = Task(
            self.results_folder, "submit", inputs, (output,), submit_work,
            (keys, logits, signals, output, self.about, self.every, sample),
        )  # fmt: skip
        done, path = self.run("submit", [task]).done, task.paths()[0]
        if self.tracker.wants(bool(done)):
            self.record_model(found, path)
        return path

    def check(self) -> None:
        """Check any submission file against the test rows."""
        sample = ingest.find_sample(self.raw)
        if sample is not None:
            expected = submission.sample_ids(sample, self.about.events)
        else:
            found = self.found()
            self.ingest(found)
            rows = {
                raw.name: len(
                    Recording.load(
                        self.ingest_folder.path, raw.subject, raw.series, self.about
                    ).signal
                )
                for raw in found
                if raw.series in self.unlabelled
            }
            expected = submission.expected_ids(rows)
        path = Path(self.config.submission or "").expanduser()
        rows_checked = submission.check_submission(path, expected, self.about.events)
        self.say(f"{path}: {rows_checked:,} rows, every rule kept")


def simulate_raw(
    scratch: Path,
    report_progress: Report,
    options: dict,
    rate: float,
    subject: int,
    series: int,
    half: str,
    labelled: bool,
) -> None:
    """Simulate one series and write its CSV files (the work of one task)."""
    folder = scratch / half
    folder.mkdir(exist_ok=True)
    made = simulate.simulate_series(
        simulate.SimulationConfig(**options, rate=rate), subject, series
    )
    simulate.write_series(made, folder, labelled)


def evaluate_work(
    scratch: Path,
    report_progress: Report,
    keys: list[Key],
    logits: list[Path],
    labels: list[Path],
    histories: list[Path],
    outputs: list[str],
    about: Description,
    every: int,
    name: str,
) -> None:
    """Score, and draw (the work of one task)."""
    truth, scores = {}, {}
    for key, logit_file, label_file in zip(keys, logits, labels, strict=True):
        truth[key] = np.load(label_file)
        scores[key] = detector.hold(np.load(logit_file), every, len(truth[key]))
    all_truth, all_scores = (
        np.concatenate(list(truth.values())),
        np.concatenate(list(scores.values())),
    )
    pooled = scoring.score(all_truth, all_scores, about.events)
    rows: dict[str, Score] = {"pooled": pooled}
    for subject in sorted({subject for subject, _ in keys}):
        mine = [key for key in keys if key[0] == subject]
        rows[f"subj{subject}"] = scoring.score(
            np.concatenate([truth[key] for key in mine]),
            np.concatenate([scores[key] for key in mine]),
            about.events,
        )
    table = scoring.table(rows)
    subjects = table.drop(index="pooled")
    # An undefined AUC stays undefined in the mean: it is never averaged away.
    table.loc["subject_mean"] = subjects.mean(skipna=False)
    interval = uncertainty.auc_interval(list(truth.values()), list(scores.values()))
    table.loc["pooled_low"], table.loc["pooled_high"] = interval
    table.to_csv(scratch / outputs[0])
    files = dict(zip(PICTURES, (scratch / output for output in outputs[1:]), strict=True))
    pooled_title = f"{name}: held-out series, pooled"
    report.roc_picture(files["roc"], all_truth, all_scores, pooled, pooled_title)
    shown = keys[0]
    report.probability_picture(
        files["probabilities"], truth[shown], detector.sigmoid(scores[shown]), about.events,
        about.rate, f"{name}: {series_name(*shown)}, held out",
    )  # fmt: skip
    report.heat_picture(files["subjects"], subjects, f"{name}: each subject's own AUC")
    report.reliability_picture(
        files["reliability"], all_truth, detector.sigmoid(all_scores), about.events, pooled_title
    )
    curves = {file.name.removesuffix("_history.csv"): pd.read_csv(file) for file in histories}
    report.learning_picture(files["learning"], curves, name)


def report_work(
    scratch: Path,
    report_progress: Report,
    results: list[Path],
    averages: list[Path],
    outputs: tuple[str, str],
    name: str,
    data_set: str,
    settings: str,
) -> None:
    """Draw the evoked responses and put everything into one page (the work of one task)."""
    drawn, page = (scratch / output for output in outputs)
    responses = evoked.grand_average(averages)
    report.evoked_picture(drawn, responses, f"{data_set}: average of all labelled series")
    table, *pictures = results
    shown = dict(zip(PICTURES.values(), pictures, strict=True))
    shown["Evoked responses of the data set"] = drawn
    report.write_report(page, name, pd.read_csv(table, index_col=0), shown, settings)


def submit_work(
    scratch: Path,
    report_progress: Report,
    keys: list[Key],
    logits: list[Path],
    signals: list[Path],
    output: str,
    about: Description,
    every: int,
    sample: ingest.RawFile | None,
) -> None:
    """Spread the logits over every row and write the submission (the work of one task)."""
    probabilities = {}
    for key, logit_file, signal_file in zip(keys, logits, signals, strict=True):
        rows = len(np.load(signal_file, mmap_mode="r"))
        held = detector.hold(np.load(logit_file), every, rows)
        probabilities[series_name(*key)] = detector.sigmoid(held)
    submission.write_submission(scratch / output, probabilities, about.events, sample)


def run(config: Config, say: Say = print) -> Result:
    """Go along the pipeline as far as ``config.stage`` says.

    Parameters
    ----------
    config : Config
        Composed and checked.
    say : callable
        Prints a line.

    Returns
    -------
    Result

    Raises
    ------
    PipelineError
        A mistake in the configuration or in the data, told in one line.
    """
    flow = Flow(config, say)
    recorded = config.stage in (Stage.train, Stage.evaluate, Stage.submit)
    if recorded:
        flow.tracker.check()
    try:
        result = _go(flow, config.stage, say)
        if recorded:
            pooled = {} if result.auc is None else result.auc.loc["pooled"].dropna().to_dict()
            flow.tracker.join({f"auc_{event}": value for event, value in pooled.items()})
        flow.tracker.close()
    except BaseException as error:
        flow.tracker.close(error)
        raise
    return result


def _go(flow: Flow, stage: Stage, say: Say) -> Result:
    if stage is Stage.check:
        flow.check()
        return Result()
    if flow.config.dataset.source is Source.simulated:
        flow.simulate()
        if stage is Stage.simulate:
            say(str(flow.raw))
            return Result()
    found = flow.found()
    flow.ingest(found)
    if stage is Stage.ingest:
        say(str(flow.ingest_folder.path))
        return Result()
    flow.filter(found)
    if stage is Stage.filter:
        say(str(flow.feature_folder.path))
        return Result()
    flow.window(found)
    if stage is Stage.window:
        return Result()
    flow.train(found, final=False)
    if stage is Stage.train:
        say(str(flow.train_folder.path))
        return Result()
    auc = flow.evaluate(found)
    folder = flow.results_folder.path
    say(f"\nAUC on series {list(flow.config.dataset.valid_series)} ({flow.name})\n")
    say(scoring.show(auc) + "\n")
    say("pooled_low to pooled_high: 95 % over trials\n")
    if stage is Stage.evaluate:
        say(str(folder))
        return Result(folder, None, auc)
    flow.train(found, final=True)
    path = flow.submit(found)
    write_whole(folder / "config.yaml", lambda hidden: write_text(hidden, flow.settings))
    say(str(path))
    return Result(folder, path, auc)
