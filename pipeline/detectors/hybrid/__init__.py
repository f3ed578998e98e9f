"""A semi-Markov chain per subject and one LSTM, whose logits are averaged.

The chain (`pipeline.detectors.semi_markov`) knows how a trial goes, and reads responses that are
linear and the same in each trial. The LSTM (`pipeline.detectors.lstm`) reads anything, and is
trained on the task itself, without the chain. A mean of their logits with fixed weights is better
than either, and better than an LSTM that is trained to correct the chain (docs/recipes.md).

`fit` fits the chains, and `detector` is the detector.
"""
