"""Recordings to causal features."""
