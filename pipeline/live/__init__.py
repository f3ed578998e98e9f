"""Applies a fitted recipe while the signal arrives: from an amplifier, or from a recording."""
