"""A staged, causal pipeline that detects hand movements in EEG."""
