"""The ablation's variants, and what the ceiling's classifier is told."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from pipeline.bench import ablation
from pipeline.bench.ceiling import LONGEST, seconds_since
from pipeline.config.compose import compose
from pipeline.config.options import Config


@cache
def variants(recipe: str) -> dict[str, Config]:
    """Compose a recipe and its variants, by name."""
    return {name: compose(list(v)) for name, v in ablation.variants(recipe).items()}


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ablation.VARIANTS)
def test_every_variant_composes_and_differs_from_its_recipe(recipe):
    table = dict(variants(recipe))
    base = table.pop(f"`{recipe}`")
    assert table
    assert all(config != base for config in table.values())


@pytest.mark.slow
def test_a_variant_of_the_stack_leaves_out_what_it_says():
    members = {name: config.stack.members for name, config in variants("stack").items()}
    whole = set(members["`stack`"])
    assert whole - set(members["without one network per subject"]) == {"lstm"}
    assert all("lda" not in m and "lr" not in m for m in members["without the linear member"])


@pytest.mark.parametrize("delay", [0.0, 0.5])
def test_an_event_is_known_from_its_delay_on_and_no_later_label_matters(delay):
    rate, labels = 10.0, np.zeros((100, 2), np.uint8)
    labels[20:30, 0] = 1
    labels[60:70, 0] = 1
    since = seconds_since(labels, rate, delay)
    known = 25 + round(delay * rate)
    assert (since[: known - 1] == LONGEST).all()
    np.testing.assert_allclose(
        since[known + 1 : 60, 0], np.arange(known + 1 - 25, 35) / rate, atol=0.06
    )
    assert since[80, 0] < 2
    assert (since[:, 1] == LONGEST).all()
    changed = labels.copy()
    changed[60:] = 0
    np.testing.assert_array_equal(seconds_since(changed, rate, delay)[:60], since[:60])
