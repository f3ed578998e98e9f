"""A page that shows the live signal: EEG traces, probabilities, onsets, delay and load."""
