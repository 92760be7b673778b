"""DVC's experiments: sweeps, rankings, recipes, and the list of runs."""
