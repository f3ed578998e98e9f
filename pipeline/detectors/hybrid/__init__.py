"""A semi-Markov chain per subject and one LSTM, and another LSTM that reads what both say.

The chain (`pipeline.detectors.semi_markov`) knows how a trial goes, and reads responses that are
linear and the same in each trial. The LSTM (`pipeline.detectors.lstm`) reads anything, and is
trained on the task itself, without the chain. What they have learned apart, a second, small LSTM
joins: it reads the logits of both, and what it gives is added to the chain's
(`pipeline.detectors.lstm.correction`). So it begins as good as the chain.

Both are too sure of series that they were fitted to. So the second LSTM learns from what chains and
LSTMs say that were fitted to other series (stacked generalisation, Wolpert 1992, Neural Networks
5:241-259).

`fit` fits the parts, and `detector` is the detector.
"""
