"""A semi-Markov chain per subject, and an LSTM that reads its beliefs and learns to correct them.

The chain (`pipeline.detectors.semi_markov`) knows how a trial goes, and reads responses that are
linear and the same in each trial. The LSTM (`pipeline.detectors.lstm`) reads the features as they
are, and what the chain says of each row; what it gives is added to the chain's logits. So training
starts from the chain, and the network learns what the chain does not know.

A chain is too sure of the series that it was fitted to. So of each fitted series the network reads
what a chain says that was fitted to the events of other series (stacked generalisation, Wolpert
1992, Neural Networks 5:241-259).

`fit` fits the chains, and `detector` is the detector.
"""
