"""The pictures are drawn from what they are given, odd cases included."""

from __future__ import annotations

import re

import matplotlib.image
import numpy as np
import pandas as pd
from matplotlib.colors import to_rgb

from pipeline.results.colors import COLORS, event_color, event_style
from pipeline.results.figures import (
    AUC_ROWS,
    cost_picture,
    heat_picture,
    learning_picture,
    probability_picture,
    reliability_picture,
    roc_picture,
    write_report,
)
from pipeline.results.scoring import score

EVENTS = ("a", "b")


def drawn(path):
    picture = matplotlib.image.imread(path)
    return picture.shape[0] > 200 and picture[..., :3].std() > 0.01


def has_colors(path, count):
    """Tell whether the first events' colours are in a picture."""
    picture = matplotlib.image.imread(path)[..., :3]
    rgb = [to_rgb(event_color(number)) for number in range(count)]
    return all(np.isclose(picture, each, atol=0.01).all(axis=-1).any() for each in rgb)


def test_no_two_events_are_drawn_alike():
    assert len({event_color(number) for number in range(len(COLORS))}) == len(COLORS)
    assert len({(event_color(number), event_style(number)) for number in range(28)}) == 28


def test_curves_and_probabilities(rng, tmp_path):
    labels = np.zeros((4000, 2), np.uint8)
    labels[1000:1150, 0] = 1  # b never occurs
    scores = rng.random((4000, 2))
    roc_picture(tmp_path / "roc.png", labels, scores, score(labels, scores, EVENTS), "title")
    assert drawn(tmp_path / "roc.png")
    assert has_colors(tmp_path / "roc.png", 1)
    for rows in (4000, 50):
        probability_picture(
            tmp_path / f"p{rows}.png", labels[:rows], scores[:rows], EVENTS, 500, "title", 5
        )
        assert drawn(tmp_path / f"p{rows}.png")
        assert has_colors(tmp_path / f"p{rows}.png", 2)


def test_learning_curves(tmp_path):
    history = pd.DataFrame(
        {"epoch": [1, 2], "loss": [1, 0.5], "valid_loss": [1, 0.7], "valid_auc_mean": [0.6, 0.7],
         "best": [False, True]}
    )  # fmt: skip
    learning_picture(tmp_path / "learning.png", {"subj1": history, "subj2": history}, "title")
    assert drawn(tmp_path / "learning.png")


def test_what_is_fitted_in_one_step_has_dots(tmp_path):
    history = pd.DataFrame(
        {"epoch": [1], "loss": [0.5], "valid_loss": [np.nan], "valid_auc_mean": [0.6],
         "best": [True]}
    )  # fmt: skip
    learning_picture(tmp_path / "learning.png", {"subj1": history}, "title")
    picture = matplotlib.image.imread(tmp_path / "learning.png")[..., :3]
    colourful = np.ptp(picture, axis=-1) > 0.2
    assert colourful[:, : picture.shape[1] // 2].any()  # the loss
    assert colourful[:, picture.shape[1] // 2 :].any()  # the AUC


def test_the_cost_picture_is_drawn(tmp_path):
    cost_picture(tmp_path / "cost.png", {"a": (0.5, 0.9), "b": (20.0, 0.7)}, "title")
    assert (tmp_path / "cost.png").stat().st_size > 5_000


def test_a_map_of_aucs_also_where_one_is_undefined(tmp_path):
    aucs = pd.DataFrame({"a": [0.9, np.nan], "b": [0.3, 1.0]}, index=["subj1", "subj2"])
    heat_picture(tmp_path / "heat.png", aucs, "title")
    assert drawn(tmp_path / "heat.png")
    heat_picture(tmp_path / "none.png", aucs * np.nan, "title")
    assert drawn(tmp_path / "none.png")


def test_reliability_also_of_bins_without_rows(rng, tmp_path):
    probabilities = rng.random((3000, 2)) * [1.0, 0.3]
    labels = (rng.random((3000, 2)) < probabilities).astype(np.uint8)
    reliability_picture(tmp_path / "reliability.png", labels, probabilities, EVENTS, "title")
    assert drawn(tmp_path / "reliability.png")
    assert has_colors(tmp_path / "reliability.png", 2)


def test_the_report_is_one_file_that_needs_no_other(tmp_path):
    cost_picture(tmp_path / "cost.png", {"a": (0.5, 0.9)}, "title")
    aucs = pd.DataFrame({"a": [0.91234, np.nan]}, index=["pooled", "subj1"])
    pictures = {"What it costs": tmp_path / "cost.png"}
    write_report(tmp_path / "report.html", "lstm & more", aucs, pictures, "seed: 12345\n")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    for shown in ("What it costs", "0.9123", AUC_ROWS, "seed: 12345", "data:image/png;base64"):
        assert shown in page
    links = re.findall(r'<(?:img|script|link)[^>]* (?:src|href)="([^"]+)"', page)
    assert links
    assert all(link.startswith("data:") for link in links)
