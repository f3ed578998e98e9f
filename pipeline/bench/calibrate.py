"""Compare simulated recordings with real ones, figure by figure.

``python -m pipeline.bench.calibrate [recipes=a,b] [overrides]`` simulates the full competition's
training series, computes the same figures from them as were computed from the real ones
(`pipeline.bench.real_figures`), fits the published methods, and writes the comparison into
``docs/simulator.md``. With overrides that change more than places it only prints the comparison.
The fits are kept like those of any run, so a second command does not repeat them.
"""

from __future__ import annotations

import numpy as np
from joblib import Parallel, delayed
from tqdm import tqdm

from pipeline.bench.arguments import chosen_recipes, is_documents_own, run_command
from pipeline.bench.document import machine, write_between
from pipeline.bench.methods import SPLIT
from pipeline.bench.real_figures import METHODS, REAL
from pipeline.bench.recording_figures import (
    TRAINING,
    VALIDATION,
    Figures,
    Windows,
    check_names,
    course_figures,
    cut_windows,
    trial_figures,
    window_figures,
)
from pipeline.config.compose import compose, reading
from pipeline.config.options import plain
from pipeline.config.paths import PROJECT
from pipeline.data.recording import Description
from pipeline.data.simulator.options import SimulationConfig
from pipeline.data.simulator.plan import simulate_trials
from pipeline.data.simulator.simulate import simulate_series
from pipeline.errors import ConfigError
from pipeline.stages.context import Context
from pipeline.stages.flow import run
from pipeline.work.machine import cores

DOC = PROJECT / "docs" / "simulator.md"
WHOLE = ("dataset=simulated", "dataset.simulation.subjects=12", "dataset.simulation.trials=0")


def subject_windows(config: SimulationConfig, about: Description, subject: int) -> Windows:
    """Simulate a subject's series 1-6 and cut their windows."""
    recordings = (simulate_series(config, about, subject, series) for series in TRAINING)
    return Windows.joined([cut_windows(recording) for recording in recordings])


def method_figures(recipes: list[str], overrides: list[str]) -> tuple[Figures, tuple[float, float]]:
    """Fit the published methods as the command line does.

    Returns
    -------
    dict
        The pooled AUC of each method.
    (float, float)
        AUC of FBL_LDA on its worst and its best subject; nan if FBL_LDA was not fitted.
    """
    figures, spread = {}, (np.nan, np.nan)
    for recipe in recipes:
        config = compose(reading([f"experiment={recipe}"], overrides))
        auc = run(config).auc
        assert auc is not None
        figures[METHODS[recipe]] = float(auc.loc["pooled", "mean"])
        if recipe == "fbl_lda":
            own = auc.loc[auc.index.str.startswith("subj") & (auc.index != "subject_mean"), "mean"]
            spread = float(own.min()), float(own.max())
    return figures, spread


def table_of(figures: Figures) -> str:
    """Compare figures with the real ones, as a Markdown table."""
    lines = ["| quantity | real | simulated | tolerance | within |", "|---|--:|--:|--:|---|"]
    for name, real in REAL.items():
        if name in figures:
            sign = "x" if real.is_factor else "±"
            within = "yes" if real.allows(figures[name]) else "**no**"
            cell = name.replace("|", r"\|")  # a bare one would end the table's cell
            lines.append(
                f"| {cell} | {real.value:.4g} | {figures[name]:.4g} | {sign} {real.tolerance:g} "
                f"| {within} |"
            )
    rows = [real.allows(figures[name]) for name, real in REAL.items() if name in figures]
    lines += ["", f"{sum(rows)} of {len(rows)} within tolerance."]
    return "\n".join(lines)


def order_of(figures: Figures) -> str:
    """Say how the methods rank on the real recordings and on the simulated ones."""
    known = [name for name in METHODS.values() if name in figures]

    def ranked(value: dict[str, float]) -> str:
        names = sorted(known, key=lambda name: -value[name])
        return ", ".join(name.removeprefix("AUC of ").removeprefix("the ") for name in names)

    real = ranked({name: REAL[name].value for name in known})
    here = ranked(figures)
    same = "the same" if real == here else f"simulated {here}"
    return f"Methods from best to worst: real {real}; {same}."


def main(arguments: list[str]) -> None:
    """Simulate, fit, compare, print the table and write it.

    Parameters
    ----------
    arguments : list of str
        ``recipes=a,b`` for some of the published methods; the rest as on the pipeline's command
        line.
    """
    recipes, changes = chosen_recipes(arguments, list(METHODS), list(METHODS), [*WHOLE, *SPLIT])
    overrides = [*WHOLE, *SPLIT, "tracking.enabled=false", *changes]
    context = Context(compose(reading([], overrides)))
    if context.config.dataset.source != "simulated":
        raise ConfigError("dataset: only simulated recordings can be compared with the real ones")
    check_names(context.about)
    config = SimulationConfig(**plain(context.config.dataset.simulation))
    if config.subjects < 2:
        raise ConfigError("dataset.simulation.subjects=1: subjects are compared; give 2 or more")
    subjects = range(1, config.subjects + 1)
    plans = {
        (subject, series): simulate_trials(config, subject, series)
        for subject in subjects
        for series in (*TRAINING, *VALIDATION)
    }
    work = (delayed(subject_windows)(config, context.about, subject) for subject in subjects)
    made = Parallel(n_jobs=context.workers, return_as="generator")(work)
    parts = list(tqdm(made, total=len(subjects), desc="windows", unit="subject"))
    figures = trial_figures(plans, context.about.rate) | course_figures(plans)
    figures |= window_figures(Windows.joined(parts))
    aucs, (worst, best) = method_figures(recipes, overrides)
    text = (
        f"{table_of(figures | aucs)} {order_of(aucs)} FBL_LDA's AUC by subject: {worst:.3f} to "
        f"{best:.3f}.\n\n{machine(cores())}; {config.subjects} subjects, seed {config.seed}."
    )
    if others := [METHODS[recipe] for recipe in METHODS if recipe not in recipes]:
        text += f" Not measured: {', '.join(others)}."
    text += "\n"
    print(text)
    if is_documents_own(changes):
        write_between(DOC, "calibration", text)


if __name__ == "__main__":
    run_command(main)
