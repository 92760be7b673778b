"""Foundations that every other package builds on: errors, settings, paths and files."""
