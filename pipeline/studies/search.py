"""`make sweep`: search a recipe's most important parameters, and write the best as a new recipe.

``python -m pipeline.studies.search [trials=20] [study=NAME] [overrides]`` runs one trial after
another: Optuna proposes values, and the pipeline runs with them. A trial learns from the first of
the training series and is scored on the last ones. The held-out series choose nothing, so the score
on them stays fair. Each study has a file. If a study was killed, or should have more trials, the
same command continues it.

``... search best [name=tuned] [study=NAME] [overwrite=true]`` writes the best trial as a recipe.
"""

from __future__ import annotations

import re
import signal
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import optuna
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState
from tqdm import tqdm
from yaml import MarkedYAMLError

from pipeline.config.compose import compose, mistake
from pipeline.config.methods.lstm import LstmMethod
from pipeline.config.options import Config, plain
from pipeline.config.paths import CONF, path
from pipeline.errors import ConfigError, PipelineError
from pipeline.tracking.session import flatten
from pipeline.tracking.sweep_runs import Group, Row, name_job, ranking
from pipeline.work.files import alone, write_text, write_whole

# Greff et al. (2017) found that the learning rate matters most for LSTMs, and the size next. The
# other three matter for this recipe's features. There are hundreds of them, and they are similar:
# how many are dropped, and how narrow is the layer behind them? And there are few series: how many
# epochs can one learn from them?
SPACE: dict[str, BaseDistribution] = {
    "train.learning_rate": FloatDistribution(5e-4, 2e-2, log=True),
    "model.hidden": IntDistribution(32, 192, step=32),
    "model.input_dropout": FloatDistribution(0.0, 0.8, step=0.1),
    "model.projection": CategoricalDistribution((0, 8, 16, 32, 64)),
    "train.epochs": IntDistribution(3, 12),
}
# The groups that a new recipe may change. All trials of a study agree in the keys of these groups,
# except those of SPACE.
GROUPS = ("filter", "method", "window", "model", "train", "stack")


def inner_split(config: Config) -> list[str]:
    """Split the training series once more: the last ones score the trials. Give the overrides.

    Raises
    ------
    ConfigError
        If there is only one training series.
    """
    data, test = config.dataset, []
    if "train_series" in data.MAY_BE_EMPTY:  # names may be patterns: the files say which there are
        from pipeline.stages.context import described  # loads torch

        data = described(config).dataset
        test = [f"dataset.test_series={data.test_series}"]
    series = list(data.train_series)
    held_out = min(len(data.valid_series), len(series) // 2)
    if not held_out:
        raise ConfigError(
            f"dataset.train_series={series}: a study scores on some of them; give it two or more"
        )
    return [
        f"dataset.train_series={series[:-held_out]}",
        f"dataset.valid_series={series[-held_out:]}",
        *test,
    ]


class Study:
    """A study and its file.

    Parameters
    ----------
    config : Config
        The recipe and the recordings.
    overrides : list of str
        The overrides from which `config` was composed.
    name : str, optional
        By default, made of the names of the recipe and the data set.
    """

    def __init__(self, config: Config, overrides: list[str], name: str | None = None) -> None:
        self.config, self.overrides = config, overrides
        self.name = name or f"{config.recipe}-{config.dataset.name}"
        if not re.fullmatch(r"[\w.-]+", self.name):
            raise ConfigError(f"study={self.name}: must be a plain name")
        folder = path(config.output_dir) / "studies"
        self.file = folder / f"{self.name}.db"
        self.lock, self.memory = (folder / f".{self.name}.{end}" for end in ("lock", "json"))

    def load(self) -> optuna.Study:
        """Open it.

        Raises
        ------
        ConfigError
            If there is no such study.
        """
        if not self.file.exists():
            raise ConfigError(
                f"study={self.name}: there is no such study yet (no file {self.file}); make sweep "
                "begins one"
            )
        return optuna.load_study(study_name=self.name, storage=f"sqlite:///{self.file}")

    def begin(self) -> optuna.Study:
        """Open it, or create it. The first trial has the values of the recipe.

        Raises
        ------
        ConfigError
            If the study was begun with another configuration.
        """
        if not self.file.exists():
            self.memory.unlink(missing_ok=True)
        study = optuna.create_study(
            study_name=self.name, storage=f"sqlite:///{self.file}", direction="maximize",
            load_if_exists=True,
        )  # fmt: skip
        mine = self._common()
        if "common" not in study.user_attrs:
            own = {key: OmegaConf.select(OmegaConf.structured(self.config), key) for key in SPACE}
            if all(SPACE[key]._contains(SPACE[key].to_internal_repr(own[key])) for key in SPACE):
                study.enqueue_trial(own)
            study.set_user_attr("overrides", self.overrides)
            study.set_user_attr("common", mine)
        theirs = study.user_attrs["common"]
        for key in sorted({*mine, *theirs}, key=lambda key: (key != "recipe", key)):
            if mine.get(key) != theirs.get(key):
                raise ConfigError(
                    f"study={self.name} has {key}={theirs.get(key)}, not {mine.get(key)}; "
                    "give this one a name of its own: study=NAME"
                )
        return study

    def _common(self) -> dict[str, str]:
        """Give the keys that are the same in all trials."""
        config = {key: plain(getattr(self.config, key)) for key in ("dataset", *GROUPS)}
        flat = flatten({"recipe": self.config.recipe, "seed": self.config.seed, **config})
        return {key: value for key, value in flat.items() if key not in SPACE}


def cut_off(trial: FrozenTrial) -> bool:
    """Tell whether a trial was killed. One that failed has a reason."""
    return trial.state == TrialState.FAIL and "failure" not in trial.user_attrs


def counted(study: optuna.Study) -> list[FrozenTrial]:
    """List the trials that ended, with a score or with an error, and were not killed."""
    ended = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.FAIL))
    return [trial for trial in ended if not cut_off(trial)]


def retry(study: optuna.Study) -> None:
    """Mark the trials of a killed command as failed, and queue them again."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
    trials = study.get_trials(deepcopy=False)
    retried = {trial.user_attrs.get("retry_of") for trial in trials}
    for trial in trials:
        if cut_off(trial) and trial.number not in retried:
            study.enqueue_trial(trial.params, user_attrs={"retry_of": trial.number})


def try_one(study: optuna.Study, seed: int, score: Callable[[list[str]], float]) -> FrozenTrial:
    """Run the next trial. If it fails, it is kept together with the reason."""
    # One sampler per trial: otherwise a command that continues a study would draw the numbers of
    # the first trials again.
    number = zlib.crc32(f"{seed} {len(counted(study))}".encode())
    study.sampler = optuna.samplers.TPESampler(seed=number)
    trial = study.ask(SPACE)
    values = [f"{key}={value}" for key, value in trial.params.items()]
    name_job(trial.number, " ".join(values))
    try:
        auc = score(values)
        if auc != auc:
            raise PipelineError("the AUC is undefined: an event never occurs in a held-out series")
    except Exception as error:
        trial.set_user_attr("failure", f"{type(error).__name__}: {error}")
        return study.tell(trial, state=TrialState.FAIL)
    return study.tell(trial, auc)


def table(study: optuna.Study) -> str:
    """Show the trials, the best first."""
    rows: list[Row] = []
    for trial in study.get_trials(deepcopy=False):
        values = [f"{trial.params[key]:.4g}" if key in trial.params else "" for key in SPACE]
        state = "cut off" if cut_off(trial) else trial.state.name.lower()
        reason = trial.user_attrs.get("failure")
        value = trial.value if trial.state == TrialState.COMPLETE else None
        rows.append((str(trial.number), values, value, f"{state}: {reason}" if reason else state))
    return ranking("trial", list(SPACE), rows)


def search(
    found: Study, trials: int, score: Callable[[list[str]], float] | None = None
) -> optuna.Study:
    """Begin or continue a study until it has so many trials.

    Parameters
    ----------
    found : Study
        New or begun.
    trials : int
        In all, including those of earlier commands.
    score : callable, optional
        Takes overrides and gives their AUC. By default it runs the pipeline.

    Returns
    -------
    optuna.Study

    Raises
    ------
    PipelineError
        If another command runs this study, if it has another configuration, or if no trial
        succeeds.
    """

    def refuse() -> None:
        raise PipelineError(f"study={found.name}: another command is running it")

    config = found.config
    common = [*found.overrides, *inner_split(config), "stage=evaluate"]
    if not isinstance(config.method, LstmMethod) or config.stack.members:
        raise ConfigError(f"experiment={config.recipe}: a study searches around an LSTM")
    found.file.parent.mkdir(parents=True, exist_ok=True)
    with alone(found.lock, refuse):
        study = found.begin()
        retry(study)
        params = {
            "overrides": " ".join(found.overrides),
            "sampler": "TPE",
            "seed": str(config.seed),
        }
        params |= {f"space.{key}": str(values) for key, values in SPACE.items()}
        group = Group(config, f"study-{found.name}", "study", params, found.memory)
        group.open()
        try:
            _until(study, trials, config.seed, score or (lambda values: run([*common, *values])))
            _complete(study)
        except BaseException as error:
            group.describe(table(study))
            group.close(error)
            raise
        group.describe(table(study))
        group.metrics({"auc_best": study.best_value})
        group.close()
    return study


def run(overrides: list[str]) -> float:
    """Run the pipeline quietly; give the mean AUC."""
    from pipeline.stages.flow import (
        run as run_stages,  # here, so that a mistake is told before torch is loaded
    )

    auc = run_stages(compose(overrides), say=lambda line: None).auc
    assert auc is not None
    return float(auc.loc["pooled", "mean"])


def _until(
    study: optuna.Study, trials: int, seed: int, score: Callable[[list[str]], float]
) -> None:
    done = len(counted(study))
    with tqdm(total=trials, initial=min(done, trials), desc="trials", smoothing=0) as bar:
        for _ in range(done, trials):
            trial = try_one(study, seed, score)
            values = " ".join(f"{key}={value:.4g}" for key, value in trial.params.items())
            reason = trial.user_attrs.get("failure")
            result = f"failed ({reason})" if reason else f"{trial.value:.4f}"
            bar.write(f"trial {trial.number}: {result}  {values}", file=sys.stdout)
            bar.update()


def _complete(study: optuna.Study) -> list[FrozenTrial]:
    """List the trials with a score.

    Raises
    ------
    PipelineError
        If there is none.
    """
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if not complete:
        reasons = [trial.user_attrs["failure"] for trial in counted(study)]
        why = f"; the first says: {reasons[0]}" if reasons else ""
        raise PipelineError(f"study={study.study_name}: no trial has a score{why}")
    return complete


def write_recipe(found: Study, name: str, overwrite: bool = False) -> Path:
    """Write a study's best trial as a new recipe.

    Parameters
    ----------
    found : Study
        It needs a trial that has succeeded.
    name : str
        Name of the recipe.
    overwrite : bool
        Whether it may replace a recipe of the same name.

    Returns
    -------
    Path
        In ``conf/experiment``.

    Raises
    ------
    ConfigError
        If there is no such study, or already a recipe of this name.
    """
    path = CONF / "experiment" / f"{name}.yaml"
    if not re.fullmatch(r"\w+", name):
        raise ConfigError(f"name={name}: must be letters, digits and _")
    if path.exists() and not overwrite:
        raise ConfigError(f"{path}: exists already; choose another name=, or overwrite=true")
    study = found.load()
    _complete(study)
    best, ended = study.best_trial, counted(study)
    overrides = list(study.user_attrs["overrides"])
    config = compose([*overrides, *(f"{key}={value}" for key, value in best.params.items())])
    if name == config.recipe:
        raise ConfigError(f"name={name}: is the recipe that was searched around; choose another")
    base = compose([f"experiment={config.recipe}"])
    changed = {group: _changes(plain(getattr(base, group)), plain(getattr(config, group)))
               for group in GROUPS}  # fmt: skip
    # The searched values are written even where they equal those of the recipe.
    for key, value in best.params.items():
        group, leaf = key.split(".")
        changed[group][leaf] = value
    failed = sum(trial.state == TrialState.FAIL for trial in ended)
    date = best.datetime_complete or best.datetime_start
    split = inner_split(config)[1].removeprefix("dataset.valid_series=")
    lines = [
        "# @package _global_",
        f"# Found by a search around {config.recipe} (make sweep): study {found.name}, trial "
        f"{best.number},",
        f"# the best of {len(ended)} trials{f' ({failed} failed)' if failed else ''}: mean AUC "
        f"{best.value:.4f} on series {split}",
        f"# of {config.dataset.name}, held out of the training series; "
        f"{date.date() if date else ''}.",
        "defaults:",
        f"  - {config.recipe}",
        "  - _self_",
        "",
        f"recipe: {name}",
        OmegaConf.to_yaml({group: values for group, values in changed.items() if values}),
    ]
    write_whole(path, lambda hidden: write_text(hidden, "\n".join(lines)))
    return path


def _changes(old: dict, new: dict) -> dict:
    return {key: value for key, value in new.items() if value != old[key]}


def options(arguments: list[str], **defaults: str) -> tuple[dict[str, str], list[str]]:
    """Split a command line into the options of this module and those for Hydra."""
    own, rest = dict(defaults), []
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key in own:
            own[key] = value
        else:
            rest.append(argument)
    reasons = {"stage": "", "tracking.experiment": ""}
    reasons |= dict.fromkeys(SPACE, ": it tries values of this key itself")
    for key, reason in reasons.items():
        if any(argument.startswith(f"{key}=") for argument in rest) and "trials" in own:
            raise ConfigError(f"{key}: cannot be set in a study{reason}")
    return own, rest


def main(arguments: list[str]) -> None:
    """Search, or write the best.

    Parameters
    ----------
    arguments : list of str
        As on the command line.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if arguments[:1] == ["best"]:
        own, overrides = options(arguments[1:], name="tuned", study="", overwrite="false")
        if own["overwrite"] not in ("true", "false"):
            raise ConfigError(f"overwrite={own['overwrite']}: must be true or false")
        found = Study(compose(overrides), overrides, own["study"] or None)
        path = write_recipe(found, own["name"], own["overwrite"] == "true")
        print(path.read_text(encoding="utf-8"))
        print(f"{path}\nnow: make train RECIPE={path.stem}")
        return
    own, overrides = options(arguments, trials="20", study="")
    if not own["trials"].isdecimal() or int(own["trials"]) < 1:
        raise ConfigError(f"trials={own['trials']}: must be 1 or more")
    found = Study(compose(overrides), overrides, own["study"] or None)
    study = search(found, int(own["trials"]))
    best = study.best_trial
    print(f"\n{table(study)}\n")
    print(f"best: trial {best.number}, mean AUC {best.value:.4f}, with")
    for key, value in best.params.items():
        print(f"  {key}={value}")
    print("as a new recipe: make sweep-best NAME=tuned")


def _stop(number: int, frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stop)
    try:
        main(sys.argv[1:])
    except PipelineError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except (HydraException, OmegaConfBaseException, MarkedYAMLError) as error:
        print(f"error: {mistake(error)}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("\nstopped; the same command continues from here", file=sys.stderr)
        sys.exit(130)
