"""The schemas that editors read, against the files that people write."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from benchmarks import samples
from bottletop.core.paths import CATALOGUE, PARAMS, WEIGHTS
from bottletop.core.settings import read_yaml
from bottletop.json_schema import FOLDER, KINDS, remarks, schema, table


def committed(path: Path) -> Any:
    return json.loads((samples.ROOT / FOLDER / f"{path.stem}.json").read_text(encoding="utf-8"))


def errors(path: Path, values: Any) -> list[str]:
    """Where the values break the schema of the file."""
    return [each.json_path for each in jsonschema.Draft202012Validator(committed(path)).iter_errors(values)]


@pytest.mark.parametrize("path", KINDS, ids=str)
def test_the_schema_in_git_is_what_the_types_and_comments_give(path: Path) -> None:
    assert committed(path) == json.loads(json.dumps(schema(path))), "python -m bottletop.json_schema"


@pytest.mark.parametrize("path", KINDS, ids=str)
def test_the_file_names_its_schema_and_agrees_with_it(path: Path) -> None:
    first, _, _ = (samples.ROOT / path).read_text().partition("\n")
    assert first == f"# yaml-language-server: $schema={FOLDER}/{path.stem}.json"
    jsonschema.Draft202012Validator.check_schema(committed(path))
    assert errors(path, read_yaml(samples.ROOT / path)) == []


@pytest.mark.parametrize("path", sorted((samples.ROOT / "recipes").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_recipe_has_what_params_yaml_may_have(path: Path) -> None:
    values = read_yaml(samples.ROOT / PARAMS)
    for section, changes in read_yaml(path).items():
        if section != "title":
            values[section] = values[section] | changes if isinstance(changes, dict) else changes
    assert errors(PARAMS, values) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("train.epoch", 60),
        ("train.epochs", 0),
        ("train.epochs", "60"),
        ("train.dropout", [0.5, 1.5]),
        ("train.optimiser", "adamm"),
        ("extract.backbone", "vgg61"),
        ("split.validation", 1.5),
        ("evaluate.bootstraps", 1000),
    ],
)
def test_a_wrong_param_breaks_the_schema(name: str, value: object) -> None:
    values = read_yaml(samples.ROOT / PARAMS)
    section, key = name.split(".")
    values[section][key] = value
    assert [place.split(".")[1] for place in errors(PARAMS, values)] == [section]


@pytest.mark.parametrize(
    "source", [{"folders": "a"}, {"folder": 3}, {"urls": "a"}, {"builtin": "mnist"}, {"parts": [{"url": "a"}]}]
)
def test_a_wrong_entry_breaks_the_schema(source: dict[str, object]) -> None:
    entry = {"title": "Mine", "image_side_px": 96, "source": source}
    assert errors(CATALOGUE, {"datasets": {"mine": entry}}) != []


def test_weights_without_a_source_break_the_schema() -> None:
    assert errors(WEIGHTS, {"vgg16": {"digest": None, "sources": []}}) == ["$.vgg16.sources"]


def test_every_setting_and_every_part_of_an_entry_is_described() -> None:
    for path in KINDS:
        for title, struct in committed(path)["$defs"].items():
            missing = [name for name, value in struct["properties"].items() if "description" not in value]
            assert missing == ([] if title != "Catalogue" else ["datasets"])


def test_the_comments_beside_and_above_a_setting_describe_it() -> None:
    text = "tea: # hot\n  # From\n  # Assam.\n  leaf: black # or green\n\n# Cold.\nmilk:\n  ml: 5\nsugar: {g: 1}\n"
    assert remarks(text) == {"tea": "hot", "tea.leaf": "or green\nFrom Assam.", "milk": "Cold."}


def test_a_row_of_the_table_describes_each_of_its_names() -> None:
    text = "# Drinks.\n#   tea | milk   hot,\n#                and cold\n#   ice, sugar   added\n# all\n#    and more\n"
    assert table(text) == {"tea": "hot, and cold", "milk": "hot, and cold", "ice": "added", "sugar": "added"}
