"""Fits a detector to a new person, beginning with what was learned from others.

One module per method that can do so; `pipeline.detectors.registry` names it. Each has two
functions: ``scalers`` and ``adapted`` (`pipeline.detectors.adaptation.adapt`).
"""
