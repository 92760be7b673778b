"""Functions are short and take few arguments. The exceptions are still to be split; their list only gets shorter."""

import ast
from pathlib import Path

from benchmarks import samples

MOST_LINES, MOST_ARGUMENTS = 40, 5
EXCEPTIONS = {
    "models/cnn.py: build",
    "models/finetuning.py: train",
    "models/training.py: finish",
    "models/training.py: fit",
}


def too_long(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether it has too many lines, its signature and docstring included, or takes too much beside ``self``."""
    given = function.args
    names = [
        each.arg for each in (*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg) if each
    ]
    lines = (function.end_lineno or 0) - function.lineno + 1
    return lines > MOST_LINES or len([name for name in names if name not in ("self", "cls")]) > MOST_ARGUMENTS


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def test_functions_have_at_most_40_lines_and_5_arguments() -> None:
    library = samples.ROOT / "bottletop"
    found = {
        f"{path.relative_to(library)}: {function.name}"
        for path in library.rglob("*.py")
        for function in functions(path)
        if too_long(function)
    }
    assert found == EXCEPTIONS
