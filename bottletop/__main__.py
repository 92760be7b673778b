"""``python -m bottletop`` is the ``bottletop`` command."""

from bottletop.core.environment import explain_missing_packages

explain_missing_packages()

from bottletop.cli import main  # noqa: E402  # it imports packages

main()
