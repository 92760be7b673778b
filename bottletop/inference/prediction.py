"""Predicts the images that users name, in the order given, and prints the results."""

import csv
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bottletop.core.cells import guarded
from bottletop.core.errors import DataError
from bottletop.core.parallel import map_ahead
from bottletop.core.progress import bar
from bottletop.core.terminal import say, visible
from bottletop.inference import inputs
from bottletop.inference.classifier import Classifier

Form = Literal["text", "json", "csv"]
SHOWN_PX = 640  # longer side, at most, of the images that are kept for figures
TOP = 5  # number of classes printed as text by default
MANY = 100  # smallest number of images with a progress bar; there is none if the results go to a terminal


class Outcome(NamedTuple):
    """The result for one image: probabilities or an error."""

    name: str
    probabilities: NDArray[np.float64] | None = None  # (classes,)
    error: str = ""  # why there are no probabilities
    pixels: NDArray[np.uint8] | None = None  # the classifier's input, RGB, (side, side, 3)
    picture: Image.Image | None = None  # the image, shrunk to `SHOWN_PX`; only if asked for


class _Decoded(NamedTuple):
    pixels: NDArray[np.uint8]  # (side, side, 3)
    picture: Image.Image | None


def predict(names: Sequence[str], classifier: Classifier, *, pictures: bool = False) -> Iterator[Outcome]:
    """Yields an outcome for each image, in order.

    While a batch is computed, the next images are read and decoded. Unreadable images yield an error outcome; the rest
    are still processed.

    Args:
        names: names of single images; see `inputs.read`.
        classifier: the model.
        pictures: whether outcomes keep the images, shrunk to `SHOWN_PX`.
    """
    load = partial(_load, classifier=classifier, keep=pictures)
    decoding = map_ahead(load, names, ahead=4 * classifier.batch_size)
    with bar("predict", " images", len(names), disable=len(names) < MANY or sys.stdout.isatty()) as shown:
        while group := list(islice(decoding, classifier.batch_size)):
            batch = [found.pixels for _, found in group if isinstance(found, _Decoded)]
            rows = iter(classifier.probabilities(np.stack(batch)) if batch else ())
            for name, found in group:
                if isinstance(found, _Decoded):
                    yield Outcome(name, next(rows), "", found.pixels, found.picture)
                else:
                    yield Outcome(name, error=str(found))
            shown.update(len(group))


def show(outcomes: Iterable[Outcome], class_names: Sequence[str], form: Form, top: int | None) -> int:
    """Prints each outcome as it arrives, and errors to stderr.

    Args:
        outcomes: see `predict`.
        class_names: in the order of the probabilities.
        form: the output format.
        top: number of classes to print, best first. None prints all in JSON and `TOP` as text. CSV always has all.

    Returns:
        The number of images without a prediction.
    """
    failed = []

    def complaining() -> Iterator[Outcome]:
        for outcome in outcomes:
            if outcome.error:
                failed.append(outcome.name)
                say(f"bottletop: {visible(outcome.name)}: {outcome.error}", file=sys.stderr)
            yield outcome

    if form == "csv":
        _print_csv(complaining(), class_names)
    elif form == "json":
        _print_json(complaining(), class_names, top or len(class_names))
    else:
        _print_text(complaining(), class_names, top or TOP)
    return len(failed)


def best(probabilities: NDArray[np.float64], class_names: Sequence[str], count: int) -> list[tuple[str, float]]:
    """The `count` most probable classes with their probabilities, best first."""
    order = np.argsort(-probabilities, kind="stable")[:count]
    return [(class_names[number], float(probabilities[number])) for number in order]


def _load(name: str, classifier: Classifier, keep: bool) -> _Decoded | DataError:
    try:
        image, pixels = classifier.look(inputs.read(name))
    except DataError as error:
        return error
    if keep:
        image.thumbnail((SHOWN_PX, SHOWN_PX))
    return _Decoded(pixels, image if keep else None)


def _print_text(outcomes: Iterable[Outcome], class_names: Sequence[str], top: int) -> None:
    for outcome in outcomes:
        if outcome.probabilities is not None:
            shares = best(outcome.probabilities, class_names, top)
            say("\n".join([visible(outcome.name), *(f"  {share:6.1%}  {visible(name)}" for name, share in shares)]))


def _print_json(outcomes: Iterable[Outcome], class_names: Sequence[str], top: int) -> None:
    """Prints a JSON array with one element per line."""
    before = "["
    for outcome in outcomes:
        entry: dict[str, object] = {"image": outcome.name}
        if outcome.probabilities is None:
            entry["error"] = outcome.error
        else:
            shares = best(outcome.probabilities, class_names, top)
            entry |= {"class": shares[0][0], "probabilities": {name: round(share, 6) for name, share in shares}}
        say(before + _as_json(entry))
        before = ","
    say("]" if before == "," else "[]")


def _as_json(entry: dict[str, object]) -> str:
    """JSON with letters as they are. If a control character is among them, everything but ASCII is written out."""
    text = json.dumps(entry, ensure_ascii=False)
    return text if visible(text) == text else json.dumps(entry).replace("\x7f", r"\u007f")


def _print_csv(outcomes: Iterable[Outcome], class_names: Sequence[str]) -> None:
    """Prints columns named as in predictions.csv, and a column with the error of an image without a prediction."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["path", "predicted", *(f"p({visible(name)})" for name in class_names), "error"])
    for outcome in outcomes:
        name = guarded(visible(outcome.name))
        if outcome.probabilities is None:
            writer.writerow([name, "", *("" for _ in class_names), guarded(visible(outcome.error))])
        else:
            [(guess, _)] = best(outcome.probabilities, class_names, 1)
            writer.writerow([name, guarded(visible(guess)), *(f"{share:.6f}" for share in outcome.probabilities), ""])
