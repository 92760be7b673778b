"""A dataset's features: computed once, found again."""
