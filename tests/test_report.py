"""The pictures are drawn from what they are given, odd cases included."""

from __future__ import annotations

import matplotlib.image
import numpy as np
import pandas as pd

from pipeline.report import cost_picture, learning_picture, probability_picture, roc_picture
from pipeline.scoring import score

EVENTS = ("a", "b")


def drawn(path):
    picture = matplotlib.image.imread(path)
    return picture.shape[0] > 200 and picture[..., :3].std() > 0.01


def test_curves_and_probabilities(rng, tmp_path):
    labels = np.zeros((4000, 2), np.uint8)
    labels[1000:1150, 0] = 1  # b never occurs
    scores = rng.random((4000, 2))
    roc_picture(tmp_path / "roc.png", labels, scores, score(labels, scores, EVENTS), "title")
    assert drawn(tmp_path / "roc.png")
    for rows in (4000, 50):
        probability_picture(
            tmp_path / f"p{rows}.png", labels[:rows], scores[:rows], EVENTS, 500, "title", 5
        )
        assert drawn(tmp_path / f"p{rows}.png")


def test_learning_curves(tmp_path):
    history = pd.DataFrame(
        {"epoch": [1, 2], "loss": [1, 0.5], "valid_loss": [1, 0.7], "valid_auc_mean": [0.6, 0.7],
         "best": [False, True]}
    )  # fmt: skip
    learning_picture(tmp_path / "learning.png", {"subj1": history, "subj2": history}, "title")
    assert drawn(tmp_path / "learning.png")


def test_the_cost_picture_is_drawn(tmp_path):
    cost_picture(tmp_path / "cost.png", {"a": (0.5, 0.9), "b": (20.0, 0.7)}, "title")
    assert (tmp_path / "cost.png").stat().st_size > 5_000
