"""What the chosen kind of model reads.

DVC can't leave stages out by a setting. So `sources` writes a file that changes when the need for features does; stages
that depend on it end at once where nobody needs their work.
"""

from pathlib import Path

from bottletop.core.files import read_json, replacing, write_json, write_text

NEEDS = Path("data/needs.json")
LEFT_OUT = "train.model in params.yaml reads the images themselves: there was nothing to extract.\n"


def write_needs(model: str) -> None:
    write_json(NEEDS, {"features": model != "cnn"})


def features_are_needed() -> bool:
    return bool(read_json(NEEDS)["features"])


def leave_out(folder: Path) -> None:
    """Writes a folder of features that says why there are none."""
    with replacing(folder) as staging:
        write_text(staging / "left-out.txt", LEFT_OUT)
