"""What each ingredient of the best recipes is worth, on simulated recordings.

``python -m pipeline.bench.ablation [recipes=a,b] [overrides]`` trains the best recipes, or some of
them, as they are and with one ingredient changed, with two seeds each. It scores series 7-8 and
writes one table per recipe into ``docs/recipes.md``. What two stacks have in common is fitted once.
"""

from __future__ import annotations

import statistics

from pipeline.bench.arguments import chosen_recipes, run_command
from pipeline.bench.document import SEEDS_HEAD, SEEDS_RULE, machine, seeds_row, write_between
from pipeline.bench.methods import DATA, SPLIT, fit_seconds, pooled_auc
from pipeline.config.compose import compose
from pipeline.config.paths import PROJECT
from pipeline.stages.context import Context
from pipeline.work.machine import cores

DOC = PROJECT / "docs" / "recipes.md"
SEEDS = (0, 1)
VARIANTS: dict[str, dict[str, tuple[str, ...]]] = {
    "lstm": {
        "without log power": ("filter=fbl",),
        "without drift and log power": ("filter=drift_free",),
        "standardised, not whitened": ("train.whiten=false",),
        "without dropout of the features": ("model.input_dropout=0",),
        "without state carried from window to window": ("window=crops",),
        "started at even chances": ("train.prior_bias=false",),
        "two layers": ("model.layers=2",),
    },
    "lstm_global": {
        "one projection for all subjects": ("train.own_projection=false",),
        "projections learning as fast as the LSTM": ("train.projection_rate=1",),
        "with drift and log power": ("filter=lowpass_bank",),
        "a convolution over the last second": ("experiment=lstm_conv",),
        "covariances instead of the bank": ("experiment=lstm_covariance",),
        "three networks that vote": ("model.networks=3",),
    },
    "semi_markov": {
        "without log power": ("filter=drift_free", "method.observed=1"),
        "one pace for all series": ("method.paces=1",),
        "only the row before foretells a row": ("method.tap_count=1",),
        "any duration as likely": ("method.duration_smooth=1000",),
        "hardly any response before an event": ("method.rows_before=3",),
        "responses of half a second": ("method.rows_after=25", "method.rows_before=25"),
        "responses not smoothed": ("method.response_smooth=0",),
        "all singular values, none shrunk": ("method.rank=128", "method.response_shrinkage=0"),
        "evidence taken at its word": ("method.trust=1",),
    },
    "stack": {
        "logits of its own, no correction": ("method=lstm",),
        "one network at the second level": ("model.networks=1",),
        "a second level a subject": ("train.scope=subject",),
        "a second level that sees 4 s": ("window.length=50", "window.burn_in=15"),
    },
}
# Members of the stack that are left out together: those that contain one of these words.
LEFT_OUT = {
    "without the semi-Markov chain": {"semi_markov"},
    "without the linear member": {"fbl_lda"},
    "without one network per subject": {"lstm"},
    "without one network for all": {"lstm_global"},
}


def variants(recipe: str) -> dict[str, tuple[str, ...]]:
    """Give the overrides of a recipe and of its variants, by their names in the table."""
    base = f"experiment={recipe}"
    table: dict[str, tuple[str, ...]] = {f"`{recipe}`": (base,)}
    for name, overrides in VARIANTS[recipe].items():
        table[name] = (base, *overrides)
    members = compose([base]).stack.names
    for name, words in LEFT_OUT.items() if members else ():
        kept = ",".join(f'"{member}"' for member in members if not words & set(member.split()))
        table[name] = (base, f"stack.members=[{kept}]")
    return table


def measure(recipe: str, overrides: list[str]) -> str:
    """Train and score a recipe and its variants; give the table."""
    lines = [f"{SEEDS_HEAD} fit, minutes |", f"{SEEDS_RULE}--:|"]
    base = 0.0
    for name, variant in variants(recipe).items():
        aucs, minutes = [], []
        for seed in SEEDS:
            print(f"\n{name}, seed {seed}")
            config = compose([*variant, *DATA, *SPLIT, f"seed={seed}", *overrides])
            aucs.append(pooled_auc(config))
            context = Context(config)
            minutes.append(fit_seconds(context) / 60)
        base = base or statistics.fmean(aucs)
        lines.append(f"{seeds_row(name, aucs, base)} {statistics.fmean(minutes):.1f} |")
    lines += [
        "",
        f"{machine(cores())}; {len(context.subjects)} subjects, seeds "
        f"{', '.join(map(str, SEEDS))}. Minutes of all fits added up, members and folds included.",
        "",
    ]
    return "\n".join(lines)


def main(arguments: list[str]) -> None:
    """Print and write the recipes' tables.

    Parameters
    ----------
    arguments : list of str
        ``recipes=a,b`` for some of them; the rest as on the pipeline's command line.
    """
    recipes, overrides = chosen_recipes(arguments, tuple(VARIANTS), tuple(VARIANTS))
    for recipe in recipes:
        text = measure(recipe, overrides)
        print(text)
        write_between(DOC, f"ablation-{recipe}", text)


if __name__ == "__main__":
    run_command(main)
