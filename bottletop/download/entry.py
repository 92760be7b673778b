"""Adds a folder or archive to datasets.yaml and params.yaml, whose other lines stay as they are."""

import re
import textwrap
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml
from tabulate import tabulate

from bottletop.core.catalogue import Dataset, entries
from bottletop.core.errors import DataError, ParamsError
from bottletop.core.files import write_text
from bottletop.core.paths import CATALOGUE, PARAMS, repository
from bottletop.core.settings import parse, parse_yaml
from bottletop.core.terminal import say
from bottletop.download.guess import ARCHIVE_ENDINGS, Guess, files_of, look
from bottletop.download.kinds import is_companion, is_hidden, is_image
from bottletop.download.naming import such_as
from bottletop.download.sheet import contact_sheet

SHEETS = Path("data/contact-sheets")
SHOWN_CLASSES = 30


def add(path: Path, name: str | None, *, activate: bool) -> None:
    """Looks at images, says what it understood, and adds an entry to datasets.yaml.

    Args:
        path: a folder or archive.
        name: of the dataset; None takes it from the path.
        activate: also add the name to `datasets` in params.yaml.

    Raises:
        DataError: the path is missing, the archive is damaged, or the layout is not understood.
        ParamsError: the name is taken or has other signs than letters, digits, - and _; or a file cannot be added to.
    """
    if not path.exists():
        where = (
            "download it first" if path.parts[0] in ("http:", "https:") else "give the path of a folder or an archive"
        )
        raise DataError(f"{path} is missing", where)
    if path.is_file() and (is_image(path.name) or is_companion(path.name)):
        raise DataError(f"{path} is no folder or archive of images", "give the folder that the images are in")
    name = name or re.sub(r"[^\w-]+", "-", ARCHIVE_ENDINGS.sub("", path.resolve().name)).strip("-")
    _check_name(name)
    guess = look(path)
    if guess.parts:
        parts = [{**_place(part), **({"under": under} if under else {})} for part, under in guess.parts]
        guess = guess._replace(source={"parts": parts, **guess.source})
    place = {} if guess.parts else _place(path)
    entry = {"title": name, "image_side_px": "auto", "source": {**place, **guess.source}}
    catalogue = with_entry(CATALOGUE.read_text(encoding="utf-8"), name, entry)
    params = with_active(PARAMS.read_text(encoding="utf-8"), name) if activate else None
    parse(Dataset, parse_yaml(catalogue)["datasets"][name], f"datasets.{name}", CATALOGUE)
    sheet = SHEETS / f"{name}.png"
    contact_sheet(files_of(path, guess.parts), guess.found, sheet)
    say(f"{path}: {describe(guess)}\n  contact sheet: {sheet}")
    write_text(CATALOGUE, catalogue)
    say(f"{CATALOGUE} now has {name}; edit its title, homepage and licence there")
    if params is not None:
        write_text(PARAMS, params)
        say(f"{PARAMS} now has {name} under datasets: run dvc repro")
    else:
        say(f"to use it, add {name} to datasets in {PARAMS}, and run dvc repro")


def describe(guess: Guess) -> str:
    """Returns what was understood, in lines: classes and counts, splits, groups, and what is left out."""
    counts = Counter((labelled.split, labelled.label) for labelled in guess.found.values())
    splits = [split for split in ("train", "validation", "test", "") if any(split == each for each, _ in counts)]
    labels = sorted({label for _, label in counts})
    rows = [[label, *(counts[split, label] for split in splits)] for label in labels]
    headers = ["class", *(split or "images" for split in splits)]
    table = tabulate(rows[:SHOWN_CLASSES], headers, disable_numparse=[0])
    lines = [f"{len(guess.found):,} images of {len(labels)} classes", textwrap.indent(table, "  ")]
    if len(rows) > SHOWN_CLASSES:
        lines.append(f"  … and {len(rows) - SHOWN_CLASSES} more classes")
    lines += [f"  {line}" for line in yaml.safe_dump(guess.source, sort_keys=False, allow_unicode=True).splitlines()]
    lines.append(f"  splits: {', '.join(filter(None, splits)) or 'none; dvc repro draws them, see params.yaml'}")
    groups = {labelled.group for labelled in guess.found.values() if labelled.group}
    told = f"{len(groups):,}" if groups else "none are told"
    lines.append(f"  groups: {told}; dvc repro finds copies too, and keeps each group in one split")
    lines += [f"  {note}" for note in guess.notes]
    images = [name for name in guess.left_out if is_image(name) and not is_hidden(name)]
    for names, what in ((images, "images"), (sorted(set(guess.left_out).difference(images)), "other files")):
        if names:
            lines.append(f"  {what} left out: {len(names):,}{such_as(names)}")
    return "\n".join(lines)


def with_entry(text: str, name: str, entry: dict[str, Any]) -> str:
    """Returns the text of datasets.yaml with one more entry, at the end of `datasets`.

    A library that writes the whole file again would write ``null`` and blank lines in other ways than its author.

    Raises:
        ParamsError: `datasets` is missing, or written in one line.
    """
    root = _mapping(text, CATALOGUE)
    keys = [key.value for key, _ in root.value]
    if "datasets" not in keys:
        raise ParamsError(f"{CATALOGUE} has no 'datasets', only {', '.join(keys) or 'nothing'}", f"edit {CATALOGUE}")
    position = keys.index("datasets")
    known = root.value[position][1]
    if getattr(known, "flow_style", False):
        raise ParamsError(f"datasets in {CATALOGUE} is written in braces", "write each entry on lines of its own")
    lines = text.splitlines()
    end = root.value[position + 1][0].start_mark.line if position + 1 < len(keys) else len(lines)
    while end and lines[end - 1].startswith("#"):  # the comment above the next section
        end -= 1
    indent = " " * (known.value[0][0].start_mark.column if isinstance(known, yaml.MappingNode) else 2)
    block = yaml.safe_dump({name: entry}, sort_keys=False, allow_unicode=True, width=1000)
    before, after = "\n".join(lines[:end]).rstrip(), "\n".join(lines[end:])
    return f"{before}\n\n{textwrap.indent(block, indent)}" + (f"\n{after}\n" if after else "")


def with_active(text: str, name: str) -> str:
    """Returns the text of params.yaml with one more name in `datasets`.

    Raises:
        ParamsError: `datasets` is not a list.
    """
    known = {key.value: value for key, value in _mapping(text, PARAMS).value}.get("datasets")
    if not isinstance(known, yaml.SequenceNode):
        raise ParamsError(f"datasets in {PARAMS} is not a list", f"edit {PARAMS}")
    if any(each.value == name for each in known.value):
        return text
    item = yaml.safe_dump([name], default_flow_style=True, allow_unicode=True, width=1000).strip()[1:-1]
    if known.flow_style:  # [digits]
        end = known.value[-1].end_mark.index if known.value else known.start_mark.index + 1
        return f"{text[:end]}{', ' if known.value else ''}{item}{text[end:]}"
    lines = text.splitlines()
    lines.insert(known.value[-1].end_mark.line + 1, f"{' ' * known.start_mark.column}- {item}")
    return "\n".join(lines) + "\n"


def _mapping(text: str, path: Path) -> yaml.MappingNode:
    """Parses YAML into nodes, which know their lines."""
    node = yaml.compose(text, yaml.SafeLoader)
    if not isinstance(node, yaml.MappingNode):
        raise ParamsError(f"{path} has no sections", f"edit {path}")
    return node


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[\w-]+", name):
        raise ParamsError(
            f"a dataset's name is made of letters, digits, - and _, got {name!r}", "choose one with --name"
        )
    if name in entries():
        raise ParamsError(f"{CATALOGUE} already has {name}", "choose another name with --name")


def _place(path: Path) -> dict[str, Any]:
    """Returns `folder` or `urls`: relative to the repository or the home folder where the path lies in one of them."""
    whole = path.absolute()
    if whole.is_relative_to(repository()):
        shown = whole.relative_to(repository()).as_posix()
    elif whole.is_relative_to(Path.home()):
        shown = f"~/{whole.relative_to(Path.home()).as_posix()}"
    else:
        shown = whole.as_posix()
    return {"folder": shown} if path.is_dir() else {"urls": [f"file:{quote(shown, safe='/~')}"]}
