"""Fitted recipes on their own: samples in, probabilities out."""
