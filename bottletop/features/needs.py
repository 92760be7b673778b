"""Whether the chosen kind of model needs features.

DVC cannot skip a stage conditionally. `sources` writes needs.json, which changes when the need for features changes;
`weights` and `extract` depend on it, and write empty outputs where features are not needed.
"""

from pathlib import Path

from bottletop.core.files import read_json, replacing, write_json, write_text

NEEDS = Path("data/needs.json")
LEFT_OUT = "train.model in params.yaml reads the images themselves: there was nothing to extract.\n"


def write_needs(model: str) -> None:
    """Writes needs.json for a kind of model, ``train.model``: all but ``cnn`` need features."""
    write_json(NEEDS, {"features": model != "cnn"})


def features_are_needed() -> bool:
    """Whether features are needed, according to needs.json."""
    return bool(read_json(NEEDS)["features"])


def leave_out(folder: Path) -> None:
    """Writes a features folder that holds only a note on why there are no features."""
    with replacing(folder) as staging:
        write_text(staging / "left-out.txt", LEFT_OUT)
