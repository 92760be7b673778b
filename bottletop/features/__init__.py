"""A dataset's features: computed once, then reused."""
