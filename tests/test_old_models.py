"""Models that were registered before the package had folders load, and predict the same.

The files are written here as that version wrote them (commit 5da3171, its `export` and each
detector's `save`), without any code of this one. Their weights follow from formulas, so no weights
are kept in the repository. `EXPECTED` is what that version predicted from these very files.
"""

from __future__ import annotations

import json
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
from scipy.signal import butter, sosfilt, sosfilt_zi

from pipeline.serving.fitted_recipe import FittedRecipe

CHANNELS, EVENTS, SUBJECT = ["C3", "Cz", "C4"], ["one", "two"], 7
# `Description` and `FilterBank` had these fields.
ABOUT = {
    "channels": CHANNELS, "events": EVENTS, "rate": 100.0, "unit_volts": 1e-6,
    "montage": "standard_1020",
}  # fmt: skip
BANK = {
    "lowpass_hz": [2.0, 8.0], "order": 5, "power_bands_hz": [], "power_smoothing_hz": 2.0,
    "decimate": 5, "subsample": 1, "covariance_bands_hz": [], "covariance_smoothing_hz": 0.5,
    "highpass_hz": 0.0, "start": "first",
}  # fmt: skip
FEATURES, EVERY, ROWS = 6, 5, 200
LOOKED_AT = (0, 60, 130, 199)


def waves(*shape: int, size: float = 1.0, begin: float = 0.0) -> np.ndarray:
    """Numbers that look like weights, and are the same on every machine."""
    numbers = np.arange(np.prod(shape)).reshape(shape)
    return (size * np.sin(begin + 1.7 * numbers)).astype(np.float32)


def tensor(*shape: int, size: float = 1.0, begin: float = 0.0) -> torch.Tensor:
    return torch.from_numpy(waves(*shape, size=size, begin=begin))


def positive(*shape: int, begin: float = 0.0) -> torch.Tensor:
    return 3 + tensor(*shape, begin=begin)


def scaler(features: int) -> dict[str, list[torch.Tensor]]:
    return {str(SUBJECT): [tensor(features), 20 * positive(features)]}


def linear(features: int) -> dict:
    taps = [2, 3]
    weights = tensor(taps[0] * features, len(EVENTS))
    return {
        "weights": weights, "bias": tensor(2, begin=1.0), "taps": taps, "scalers": scaler(features)
    }  # fmt: skip


def tap_network(kind: str, features: int) -> dict:
    units, count, filters = 4, 3, 2
    method = {
        "kind": kind, "tap_count": count, "tap_every": 2, "units": units, "filters": filters,
        "input_dropout": 0.2, "dropout": 0.5, "updates": 5, "batch": 32, "learning_rate": 0.1,
        "momentum": 0.9, "fit_every": 1,
        "shrinkage": None, "penalty_c": 1.0, "iterations": 100,  # of other methods
    }  # fmt: skip
    if kind == "gru":
        shapes = {
            "gru.weight_ih_l0": (3 * units, features), "gru.weight_hh_l0": (3 * units, units),
            "gru.bias_ih_l0": (3 * units,), "gru.bias_hh_l0": (3 * units,),
            "head.0.weight": (units, units), "head.0.bias": (units,),
            "head.3.weight": (2, units), "head.3.bias": (2,),
        }  # fmt: skip
    else:
        shapes = {
            "spatial.weight": (filters, features), "spatial.bias": (filters,),
            "head.0.weight": (units, count * filters), "head.0.bias": (units,),
            "head.3.weight": (units, units), "head.3.bias": (units,),
            "head.6.weight": (2, units), "head.6.bias": (2,),
        }  # fmt: skip
    weights = {name: tensor(*shape, begin=len(name)) for name, shape in shapes.items()}
    options = {"n_features": features, "n_events": 2, "method": method}
    return {"options": options, "scalers": scaler(features), "weights": weights}


def lstm(features: int, networks: int = 1) -> dict:
    hidden, projection, kernel = 3, 4, 2
    shapes = {
        "projection.weight": (projection, features), "projection.bias": (projection,),
        "convolution.filters.weight": (projection, projection, kernel),
        "convolution.filters.bias": (projection,),
        "lstm.weight_ih_l0": (4 * hidden, projection), "lstm.weight_hh_l0": (4 * hidden, hidden),
        "lstm.bias_ih_l0": (4 * hidden,), "lstm.bias_hh_l0": (4 * hidden,),
        "output.weight": (2, hidden), "output.bias": (2,),
    }  # fmt: skip
    prefixes = [""] if networks == 1 else [f"networks.{i}." for i in range(networks)]
    weights = {
        prefix + name: tensor(*shape, begin=len(prefix + name) + i)
        for i, prefix in enumerate(prefixes)
        for name, shape in shapes.items()
    }
    options = {
        "n_features": features, "n_events": 2, "cell": "fused", "hidden": hidden, "layers": 1,
        "projection": projection, "kernel": kernel, "dropout": 0.5, "input_dropout": 0.2,
        "networks": networks, "forget_bias": 1.0, "init_range": None,
    }  # fmt: skip
    mean, matrix = tensor(features), torch.diag(1 / (20 * positive(features)))
    return {
        "options": options, "stride": 2, "scalers": {str(SUBJECT): [mean, matrix]},
        "weights": weights,
    }  # fmt: skip


def semi_markov(features: int) -> dict:
    observed, axes, lags, rows, paces, longest = 3, 2, 2, 4, 2, 9
    durations = positive(paces, 2, longest).double()
    chain = {
        "mean": tensor(features), "deviation": 20 * positive(features),
        "past": tensor(features + (lags - 1) * observed, observed, size=0.2),
        "whiten": torch.eye(observed) + tensor(observed, observed, size=0.1),
        "axes": tensor(observed, axes), "after": tensor(2, rows, axes, size=2.0),
        "before": tensor(2, rows, axes, size=2.0, begin=2.0),
        "durations": durations / durations.sum(dim=2, keepdim=True),
        "shares": torch.tensor([0.25, 0.75], dtype=torch.float64),
        "starts": torch.tensor([1, 3]),
    }  # fmt: skip
    return {"chains": {str(SUBJECT): chain}, "lags": lags, "half": 1}


MODELS = {
    "lda": linear(FEATURES),
    "lr": linear(FEATURES),
    "gru": tap_network("gru", FEATURES),
    "cnn": tap_network("cnn", FEATURES),
    "semi_markov": semi_markov(FEATURES),
    "lstm": lstm(FEATURES),
}
MEMBERS = ("lda", "lstm")


def write_old(folder: Path, kind: str) -> Path:
    """Write a recipe as `pipeline.serving.export` did."""
    folder.mkdir()
    name, bank, members = f"subj{SUBJECT}_final.pt", BANK, 0
    model, every = MODELS.get(kind), EVERY
    if kind == "stack":
        kind, bank, members, every = "lstm", None, len(MEMBERS), 10
        model = lstm(2 * len(MEMBERS), networks=2)
        for number, member in enumerate(MEMBERS):
            write_old(folder / f"member{number}", member)
    torch.save(model, folder / name)
    stored = {
        "about": ABOUT, "every": every, "bank": bank, "kind": kind,
        "models": {name: [SUBJECT]}, "members": members,
    }  # fmt: skip
    (folder / "recipe.json").write_text(json.dumps(stored, indent=1), encoding="utf-8")
    return folder


def recorded() -> np.ndarray:
    """Waves in whole microvolts, as a file has them; shape (T, C)."""
    rows = np.arange(ROWS)[:, None] / 100
    return np.rint(80 * np.sin(2 * np.pi * rows * [0.7, 2.3, 5.1]) + 30 * waves(ROWS, 3))


EXPECTED = {
    "lda": [[0.7112525, 0.4703881], [0.6993295, 0.1642606],
            [0.6994820, 0.8823549], [0.7931883, 0.3442762]],
    "lr": [[0.7112525, 0.4703881], [0.6993295, 0.1642606],
           [0.6994820, 0.8823549], [0.7931883, 0.3442762]],
    "gru": [[0.1167310, 0.1838221], [0.1004348, 0.1167606],
            [0.2689433, 0.5332589], [0.0929725, 0.1110701]],
    "cnn": [[0.2039280, 0.4019814], [0.2689433, 0.5332589],
            [0.0017872, 0.0082415], [0.2689433, 0.5332589]],
    "semi_markov": [[0.0000010, 0.0000010], [0.6970404, 0.0150312],
                    [0.0771925, 0.8472537], [0.5318569, 0.1541826]],
    "lstm": [[0.3550559, 0.5071779], [0.2360548, 0.3052495],
             [0.2515553, 0.5677612], [0.2147612, 0.3466058]],
    "stack": [[0.3990415, 0.2961044], [0.3961164, 0.2841857],
              [0.3931470, 0.2817801], [0.3935179, 0.2828821]],
}  # fmt: skip


@pytest.mark.parametrize("kind", EXPECTED)
def test_an_old_model_predicts_as_it_did(kind, tmp_path):
    recipe = FittedRecipe.load(write_old(tmp_path / kind, kind))
    got = recipe.predict(recorded(), SUBJECT)
    np.testing.assert_allclose(got[list(LOOKED_AT)], EXPECTED[kind], rtol=0, atol=2e-6)


def by_hand() -> np.ndarray:
    """What the linear model's weights say, by SciPy's filters and one product."""
    signal, model, columns = recorded(), MODELS["lda"], []
    for cutoff in BANK["lowpass_hz"]:
        sections = butter(5, cutoff, fs=100, output="sos")
        resting = sosfilt_zi(sections)[:, :, None] * signal[0]
        columns.append(sosfilt(sections, signal, axis=0, zi=resting)[0])
    mean, deviation = (part.numpy() for part in model["scalers"][str(SUBJECT)])
    ready = (np.concatenate(columns, axis=1)[::EVERY] - mean) / deviation
    (_, apart), now = model["taps"], np.arange(len(ready))
    wide = np.concatenate([ready[np.maximum(now - apart, 0)], ready], axis=1)
    logits = wide @ model["weights"].numpy() + model["bias"].numpy()
    return np.repeat(1 / (1 + np.exp(-logits)), EVERY, axis=0)


def test_a_linear_model_s_predictions_follow_from_its_weights(tmp_path):
    got = FittedRecipe.load(write_old(tmp_path / "lda", "lda")).predict(recorded(), SUBJECT)
    np.testing.assert_allclose(got, by_hand(), rtol=0, atol=2e-5)


# The program that such a model brings for MLflow (`pipeline/served_model.py` of that version).
SERVED = """
import numpy as np, pandas as pd, mlflow
from pathlib import Path
from mlflow.pyfunc import PythonModel
from pipeline.errors import DataError
from pipeline.serving import FittedRecipe

class ServedRecipe(PythonModel):
    def load_context(self, context):
        self.recipe = FittedRecipe.load(Path(context.artifacts["recipe"]))

    def predict(self, context, model_input, params=None):
        samples = model_input[list(self.recipe.about.channels)].to_numpy()
        subject = (params or {}).get("subject", min(self.recipe.detectors))
        probabilities = self.recipe.predict(np.ascontiguousarray(samples), int(subject))
        return pd.DataFrame(probabilities, columns=list(self.recipe.about.events))

mlflow.models.set_model(ServedRecipe())
"""


@pytest.mark.slow  # MLflow takes its time to begin
def test_mlflow_loads_an_old_model_where_this_package_is_imported_already(tmp_path):
    """Python then takes this package in place of the copy that lies beside the model."""
    code = tmp_path / "served_model.py"
    code.write_text(SERVED, encoding="utf-8")
    recipe = write_old(tmp_path / "recipe", "lda")
    mlflow.pyfunc.save_model(
        tmp_path / "model", python_model=str(code), artifacts={"recipe": str(recipe)},
        pip_requirements=["mlflow"],
    )  # fmt: skip
    served = mlflow.pyfunc.load_model(str(tmp_path / "model"))
    got = served.predict(pd.DataFrame(recorded(), columns=CHANNELS))
    assert list(got.columns) == EVENTS
    np.testing.assert_allclose(got.to_numpy(), by_hand(), rtol=0, atol=2e-5)
