"""MLflow: live logging, runs, where results come from, the tracking server."""
