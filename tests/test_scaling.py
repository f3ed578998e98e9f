"""Scalers: each subject's own, fitted on its own series."""

from __future__ import annotations

import numpy as np

from pipeline.detectors.scaling import fit_scalers, pack, standardise, unpack
from tests.conftest import tapped_series


def test_each_subject_is_standardised_for_itself():
    fitted = [tapped_series(1, 1), tapped_series(2, 1, offset=50), tapped_series(2, 2, offset=50)]
    scalers = unpack(pack(fit_scalers(fitted)))
    both = np.concatenate([fitted[1].features, fitted[2].features])
    np.testing.assert_allclose(standardise(both, scalers[2]).mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(standardise(both, scalers[2]).std(0), 1, atol=1e-3)
