"""A detector that knows how a trial goes: event after event, each with its response and its pauses.

The state is what has happened so far and what is next: which event was the last, how long ago,
which one is next and in how many rows, as in a semi-Markov chain with explicit durations (Yu 2010,
Artificial Intelligence 174:215-243; the durations are those of the fitted trials). Each state
predicts what the features should look like: responses after the last event and before the next one,
found by regression on events in continuous data (Smith and Kutas 2015, Psychophysiology
52:157-168), in features from which their own past's prediction has been subtracted. Series may have
different paces, with short pauses between trials or with long ones: the pace belongs to the state,
too, and shows after a trial or two. Row by row, Bayes' rule weighs all states by how well they
predict that row. An event's prediction is the chance that the true state lies within the event's
label.

`timing` reads events and durations from labels, `order` learns which event follows which, `chain`
holds one subject's states, `fit` learns them, `belief` weighs them (`compiled` has its loops),
`notes` says what is odd about the events, and `detector` is the detector of all subjects.
"""
