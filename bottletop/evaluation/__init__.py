"""Scores of a model, and the reports and figures made from them."""
