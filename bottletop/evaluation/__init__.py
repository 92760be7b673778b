"""Scores of a model, and the reports and figures made of them."""
