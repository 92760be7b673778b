"""MLflow tracking: live logging, runs, the origin of results, and the tracking server."""
