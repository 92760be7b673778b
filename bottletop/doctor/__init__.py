"""`bottletop doctor`: one module for each kind of check, and `examine`, which runs them all."""
