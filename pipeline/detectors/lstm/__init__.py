"""The LSTM, from its equations to its training."""
