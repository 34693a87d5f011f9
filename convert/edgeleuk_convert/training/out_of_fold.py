"""What networks said of cells that they had not seen, and what makes decisions of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from edgeleuk.bundle.manifest import Struct
from edgeleuk.errors import DataRefusedError, IntegrityError, UsageError
from edgeleuk_calibration.fit_output import better_plain, fit_output
from edgeleuk_convert.dataset.splits import halves
from edgeleuk_convert.environment import replace_file
from edgeleuk_convert.metrics.classification import prior_weights

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edgeleuk.bundle.manifest import OutputContract
    from edgeleuk_convert.dataset.cells import LabelledCell
    from edgeleuk_convert.training.plan import TrainingSettings

ENDING = ".answers.json"
_DO_NOT_COUNT = {
    "seed", "folds", "fold", "split_seed", "held_out", "calibrated", "forest", "sensitivity",
}  # fmt: skip


class InnerAnswers(Struct, frozen=True):
    """What networks of inner folds said of the cells that a fold's own network learned from.

    Attributes
    ----------
    folds : int
        How many; none of them taught what it was asked.
    logits, forest : dict of str to float
        As in `Answers`.
    """

    folds: int
    logits: dict[str, float]
    forest: dict[str, float]


class Answers(Struct, frozen=True):
    """What one network said of the cells of its own fold.

    Attributes
    ----------
    architecture : str
    fold, seed : int
    parameters : int
    logits : dict of str to float
        sha256 of a cell's pixels to what the network said of it.
    forest : dict of str to float
        The same of a forest on plain numbers that knew the same cells as the network: log odds.
    identity : str
        Hash of the settings and of the test cells that this is an answer to.
    settings : dict or None
        `settings_that_count`; None in answers of earlier versions.
    inner : InnerAnswers or None
        Where the folds are nested.
    """

    architecture: str
    fold: int
    seed: int
    parameters: int
    logits: dict[str, float]
    forest: dict[str, float]
    identity: str
    settings: dict[str, Any] | None = None
    inner: InnerAnswers | None = None


def settings_that_count(settings: TrainingSettings) -> dict[str, Any]:
    """Return the settings that decide what kind of network a training gives, under one level of names.

    Left out is what decides which cells it learns from, and what is made of its answers afterwards.
    """
    flat: dict[str, Any] = {key: value for key, value in settings.flat().items() if key not in _DO_NOT_COUNT}
    flat |= {f"input_{key}": value for key, value in msgspec.structs.asdict(settings.contract).items()}
    # As they are read back, so that they can be compared.
    decoded: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(flat))
    return decoded


def require_same_settings(answers: Sequence[Answers], settings: TrainingSettings) -> None:
    """Refuse to calibrate a network by the answers of networks that were trained otherwise.

    Answers of earlier versions do not say how they were made, and are taken.

    Raises
    ------
    UsageError
        Some were; the settings that differ are named.
    """
    wanted = settings_that_count(settings)
    for one in answers:
        made = one.settings or {}
        differ = sorted(key for key in made.keys() & wanted.keys() if made[key] != wanted[key])
        if differ:
            raise UsageError(
                f"the answers of fold {one.fold}, seed {one.seed} were made with other settings",
                got=", ".join(f"{key} = {made[key]}" for key in differ),
                allowed=", ".join(f"{key} = {wanted[key]}" for key in differ),
                cure="train with those settings, or cross-validate again with these",
            )


def write_answers(answers: Answers, path: Path) -> None:
    """Write answers for `read_answers`."""
    replace_file(path, msgspec.json.format(msgspec.json.encode(answers), indent=1))


def read_answers(path: Path, identity: str) -> Answers | None:
    """Read the answers of an earlier training; None where there are none, or to another question."""
    if not path.exists():
        return None
    answers = _decoded(path)
    return answers if answers.identity == identity else None


def answers_in(folder: Path, architecture: str) -> list[Answers]:
    """Read all answers of an architecture that a cross-validation left in a folder.

    Raises
    ------
    DataRefusedError
        There are none.
    IntegrityError
        Some are damaged.
    """
    found = [_decoded(path) for path in sorted(folder.glob(f"{architecture}-fold*{ENDING}"))]
    if not found:
        raise DataRefusedError(
            f"{folder} holds no answers of {architecture}",
            cure="make them with `edgeleuk cross-validate`, or leave --answers out",
        )
    return found


def out_of_fold_output(
    answers: Sequence[Answers | InnerAnswers],
    cells: Sequence[LabelledCell],
    *,
    sensitivity: float,
    forest: bool,
) -> OutputContract:
    """Fit what makes decisions of logits to answers that networks gave on cells they had not seen.

    Parameters
    ----------
    answers : sequence of Answers
        Of one architecture.
    cells : sequence of LabelledCell
        Those that may teach it; answers on others are not looked at.
    sensitivity : float
        As in `fit_output`.
    forest : bool
        Whether the forest's answers join the network's.

    Raises
    ------
    DataRefusedError
        There are no answers on both classes.
    """
    known = [(cell, one) for one in answers for cell in cells if cell.sha256 in one.logits]
    of = [cell for cell, _ in known]
    truth = np.array([cell.label == "blast" for cell in of], bool)
    if np.unique(truth).size < 2:
        raise DataRefusedError(
            "the answers say nothing of both classes of these cells",
            got=f"{len(of)} answers on the cells to learn from",
            cure="cross-validate on the same images",
        )
    group = np.array([cell.group or "" for cell in of])
    facts = (
        np.array([one.logits[cell.sha256] for cell, one in known]),
        np.array([one.forest[cell.sha256] for cell, one in known]) if forest else None,
        truth,
        group,
        prior_weights(truth, np.array([cell.subject or "" for cell in of])),
    )
    half = halves(of, seed=0)
    return fit_output(*facts, half=half, sensitivity=sensitivity, plain=better_plain(*facts, half=half))


def _decoded(path: Path) -> Answers:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Answers)
    except (msgspec.DecodeError, ValueError) as error:
        raise IntegrityError(
            f"{path.name} is damaged", got=error, cure="delete it, to train that fold again"
        ) from error
