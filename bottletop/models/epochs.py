"""Tracks training epoch by epoch: shows progress, keeps the best weights, and lets a killed training resume."""

import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from bottletop.backbones.runtime import keras
from bottletop.core.files import read_json, replacing, sha256_text, write_json
from bottletop.core.paths import repository
from bottletop.core.progress import bar
from bottletop.models.trained import HISTORY, Entry

WINGS = ("backbones", "images", "models")  # packages whose code determines the model
SAVE_EVERY_S = 10.0  # minimum time between saves: a kill loses at most this much, plus the interrupted epoch
WEEK_S = 7 * 24 * 3600
LOG_LOSS = "log_loss"  # metric of the network; the loss that it minimises has smoothed labels, weights and L2, too
DRAWS = 1 << 20  # upper bound on the random draws of one layer in an epoch


@contextmanager
def unfinished(training: object) -> Iterator[Path | None]:
    """Yields the path for the state of a training, so that it can resume after a kill.

    The same settings, code and Keras version give the same path. The state is removed when the block succeeds. States
    that were not updated for a week are removed, too.

    Args:
        training: what identifies the training, as values that JSON can hold.

    Yields:
        The path, or None while another process runs the same training.
    """
    library = Path(__file__).parents[1]
    files = sorted(path for wing in WINGS for path in (library / wing).glob("*.py"))
    sources = [path.read_text(encoding="utf-8") for path in files]
    # In the main repository: the folder of a killed `dvc exp run --temp` is not used again.
    root = repository() / ".dvc/tmp/bottletop/training"
    for state in root.glob("*/state"):
        with suppress(FileNotFoundError):  # another process removed it: its training has just ended
            if time.time() - state.stat().st_mtime > WEEK_S:
                shutil.rmtree(state.parent)
    folder = root / sha256_text([json.dumps(training), keras.__version__, *sources])[:16]
    with ExitStack() as stack:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            stack.enter_context(FileLock(folder / "lock", blocking=False))
        except Timeout:
            yield None
            return
        try:
            yield folder / "state"
            shutil.rmtree(folder / "state", ignore_errors=True)
        finally:
            if not (folder / "state").exists():
                shutil.rmtree(folder, ignore_errors=True)


class Epochs(keras.callbacks.Callback):  # type: ignore[misc]
    """Keras callback for one call of `fit`. `history` gets one entry per epoch, with the keys in HISTORY."""

    def __init__(
        self,
        epochs: int,
        patience: int | None,
        on_epoch: Callable[[Entry], None],
        state: Path | None = None,
        earlier: Sequence[Entry] = (),
    ) -> None:
        """Initialises the callback.

        Args:
            epochs: maximum number of epochs, `earlier` included.
            patience: epochs without a lower validation loss before training stops; None: it never stops early.
            on_epoch: called after each epoch with its entry, plus the epoch's number, counted from 1, under "epoch".
            state: folder for the state that a killed training resumes from; None: no state is saved.
            earlier: history of the training that the model comes from; the last entry describes the model as it is now.
        """
        super().__init__()
        self.history: list[Entry] = list(earlier)
        self._patience, self._on_epoch, self._state, self._epochs = patience, on_epoch, state, epochs
        self._best_weights: list[NDArray[np.float32]] = []
        self._saved = time.monotonic()

    @property
    def best(self) -> int:
        """Position of the epoch with the lowest validation loss, counted from 0."""
        return int(np.argmin([entry["val_loss"] for entry in self.history]))

    def resume(self, model: keras.Model) -> int:
        """Restores the compiled model and its built optimiser to the saved state of a killed training, if there is one.

        Returns:
            The number of epochs done; the maximum number of epochs if patience has run out.
        """
        if self._state is not None and (self._state / "history.json").exists():
            model.load_weights(self._state / "best.weights.h5")
            self._best_weights = model.get_weights()
            model.load_weights(self._state / "last.weights.h5")
            for entry in read_json(self._state / "history.json")[len(self.history) :]:
                self._add(entry)
        else:
            self._best_weights = model.get_weights()
        return self._epochs if self._exhausted else len(self.history)

    def on_train_begin(self, logs: Entry | None = None) -> None:  # noqa: ARG002 (Keras' names)
        """Opens the progress bar."""
        self._bar = bar("train", " epochs", self._epochs, initial=len(self.history))

    def on_epoch_begin(self, epoch: int, logs: Entry | None = None) -> None:  # noqa: ARG002
        """Sets the random state of every layer from the epoch's number, so that a resumed training draws the same."""
        for variable in self.model.variables:
            if variable.path.endswith("seed_generator_state"):
                variable.assign([int(variable[0]), epoch * DRAWS])

    def on_epoch_end(self, epoch: int, logs: Entry | None = None) -> None:
        """Records the epoch, keeps the best weights, saves the state, and stops training that diverged or stalled."""
        self._add({name: float((logs or {})[name.replace("loss", LOG_LOSS)]) for name in HISTORY})
        if self.best == epoch:
            self._best_weights = self.model.get_weights()
        diverged = not np.isfinite(list(self.history[-1].values())).all()
        self.model.stop_training = diverged or self._exhausted
        if self._state is not None and not diverged and time.monotonic() - self._saved >= SAVE_EVERY_S:
            self._save(self._state)
        self._bar.set_postfix({name: f"{value:.4f}" for name, value in self.history[-1].items()}, refresh=False)
        self._bar.update()

    def on_train_end(self, logs: Entry | None = None) -> None:  # noqa: ARG002
        """Restores the weights of the best epoch."""
        self.model.set_weights(self._best_weights)
        self._bar.close()

    @property
    def _exhausted(self) -> bool:
        """Whether patience has run out."""
        if not self.history or self._patience is None:
            return False
        return len(self.history) - 1 - self.best >= self._patience

    def _add(self, entry: Entry) -> None:
        self.history.append(entry)
        self._on_epoch({"epoch": len(self.history), **entry})

    def _save(self, state: Path) -> None:
        last = self.model.get_weights()
        with replacing(state) as new:
            new.mkdir()
            self.model.save_weights(new / "last.weights.h5")  # with the optimiser's state
            self.model.set_weights(self._best_weights)
            self.model.save_weights(new / "best.weights.h5")
            self.model.set_weights(last)
            write_json(new / "history.json", self.history)
        self._saved = time.monotonic()
