"""Uses of a trained model: predictions, heat maps, exports, and MLflow's model registry."""
