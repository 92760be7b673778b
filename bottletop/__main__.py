"""``python -m bottletop`` is the ``bottletop`` command."""

from bottletop.cli import main

main()
