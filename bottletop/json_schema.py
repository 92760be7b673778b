"""JSON schemas of params.yaml, datasets.yaml and weights.yaml, from which editors complete and check as one types.

``python -m bottletop.json_schema`` writes them to ``schemas/``. Types, bounds and defaults come from the params
structs. What a setting means comes from the comments of the YAML files.
"""

import re
from pathlib import Path
from typing import Any

import msgspec

from bottletop.core.catalogue import Catalogue, WeightsEntry
from bottletop.core.files import write_json
from bottletop.core.paths import CATALOGUE, PARAMS, WEIGHTS
from bottletop.core.terminal import say
from bottletop.params_file import SECTIONS, ParamsFile

FOLDER = Path("schemas")
KINDS = {PARAMS: ParamsFile, CATALOGUE: Catalogue, WEIGHTS: dict[str, WeightsEntry]}
_KEY = re.compile(r"( *)([\w-]+):(?:[^#]*[^#\s])?\s*(?:# (.*))?")  # such as `  epochs: 60 # largest number of epochs`
_REMARK = re.compile(r" *# (.*)")
_ROW = re.compile(r"#   (\w+(?:(?: \| |, )\w+)*)  +(.*)")  # such as `#   sha256 | md5   checksum of the archive`
_MORE = re.compile(r"#     +(.*)")  # the next line of such a row


def schema(path: Path) -> dict[str, Any]:
    """Returns the JSON schema of one of the YAML files: draft 2020-12."""
    found, text = msgspec.json.schema(KINDS[path]), path.read_text(encoding="utf-8")
    described = remarks(text) if path == PARAMS else table(text)
    for title, struct in found["$defs"].items():
        section = next((f"{name}." for name, kind in SECTIONS.items() if kind.__name__ == title), "")
        for key, value in struct["properties"].items():
            if f"{section}{key}" in described:
                value["description"] = described[f"{section}{key}"]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **found}


def remarks(text: str) -> dict[str, str]:
    """Returns the comment beside and above each section and setting of a YAML text, by the name of the setting."""
    found: dict[str, str] = {}
    section, above = "", []
    for line in text.splitlines():
        if remark := _REMARK.fullmatch(line):
            above.append(remark[1])
            continue
        if key := _KEY.fullmatch(line):
            section = section if key[1] else key[2]
            name = f"{section}.{key[2]}" if key[1] else section
            beside = [key[3]] if key[3] else []
            if beside or above:
                found[name] = "\n".join([*beside, " ".join(above)]).strip()
        above = []
    return found


def table(text: str) -> dict[str, str]:
    """Returns the text beside each name in the table at the top of a YAML text."""
    found: dict[str, str] = {}
    names: list[str] = []
    for line in text.splitlines():
        if row := _ROW.fullmatch(line):
            names = re.findall(r"\w+", row[1])
            found |= dict.fromkeys(names, row[2])
        elif names and (more := _MORE.fullmatch(line)):
            found |= {name: f"{found[name]} {more[1]}" for name in names}
        else:
            names = []
    return found


def main() -> None:
    """Writes the schema of each file to `FOLDER`."""
    for path in KINDS:
        target = FOLDER / f"{path.stem}.json"
        write_json(target, schema(path))
        say(f"wrote {target}")


if __name__ == "__main__":
    main()
