"""MLflow: runs, sweeps, model cards, and the commands that show and serve them."""
