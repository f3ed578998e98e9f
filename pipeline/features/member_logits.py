"""The second level's features: other recipes' logits side by side.

No logit comes from a model that saw the series: each member is fitted several times, without each
fold of the training series in turn, which it then predicts; on all training series, to predict the
validation series; and on all labelled ones, to predict the test series (``docs/recipes.md`` draws
it). `pipeline.stages.members` plans these fits.
"""

from __future__ import annotations

import numpy as np


def side_by_side(parts: list[tuple[np.ndarray, int]], rows: int, every: int) -> np.ndarray:
    """Put the members' logits of one series side by side.

    Parameters
    ----------
    parts : list of (ndarray, int)
        A member's logits, (T', E), and how many recorded rows lie between two of them.
    rows : int
        T, of the recording.
    every : int
        Recorded rows to a row of the result.

    Returns
    -------
    ndarray of float32, shape (T'', E * members)
        The latest prediction that each member has made by then.
    """
    at = np.arange(0, rows, every)
    return np.concatenate([logits[at // step] for logits, step in parts], axis=1).astype(np.float32)
