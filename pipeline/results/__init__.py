"""Logits to probabilities, scores, submissions and pictures."""
