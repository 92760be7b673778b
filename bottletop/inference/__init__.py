"""A trained model at work: predictions, heat maps, exports, MLflow's model registry."""
