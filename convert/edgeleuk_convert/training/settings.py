"""Settings of a training: from a TOML file and flags, and from what an earlier training left behind."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

import msgspec

from edgeleuk.errors import IntegrityError, UsageError
from edgeleuk.io.settings import load_settings
from edgeleuk_convert.networks.architectures import architecture
from edgeleuk_convert.training.plan import TrainingSettings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from edgeleuk_convert.training.record import TrainingRecord

AUGMENTATION = "augmentation_"


def load_training_settings(file: Path | None, flags: Mapping[str, object]) -> TrainingSettings:
    """Merge a ``training.toml`` with the flags that were given, which win.

    What neither of them sets is as the architecture's recipe says, else as `TrainingSettings` has it.
    ``EDGELEUK_*`` variables are settings of the device and mean nothing here.

    Raises
    ------
    UsageError
        An unknown key (with its line), a value of the wrong kind or out of range, no TOML; or flags that
        hold out a fold where subjects are named.
    """

    def merged(recipe: Mapping[str, object]) -> TrainingSettings:
        return load_settings(
            TrainingSettings, defaults=recipe, file=file, environ={}, flags=flags, command="train"
        )

    settings = merged(architecture(merged({}).architecture).recipe)
    folds = [f"--{name}" for name in ("folds", "fold") if flags.get(name) is not None]
    if settings.held_out and folds:
        raise UsageError(
            "subjects to hold out are named, and a fold as well",
            got=" and ".join(folds),
            cure="leave out the one or the other",
        )
    return settings


def settings_of(record: TrainingRecord) -> TrainingSettings:
    """Rebuild the settings that a network was trained with.

    Raises
    ------
    IntegrityError
        The record names a setting that this version does not have, or a value that it refuses.
    """
    values: dict[str, Any] = {"input": record.input, "augmentation": {}}
    for key, value in record.settings.items():
        if key.startswith(AUGMENTATION):
            values["augmentation"][key.removeprefix(AUGMENTATION)] = value
        else:
            values[key] = value
    reason = ", ".join(sorted(record.settings.keys() - _all_settings()))
    if not reason:
        try:
            return msgspec.convert(values, TrainingSettings)
        except (msgspec.ValidationError, UsageError) as error:
            reason = str(error)
    raise IntegrityError(
        "the settings in the training record are not those of this version",
        got=reason,
        cure="train the network again",
    )


def _all_settings() -> set[str]:
    return {one.name for one in fields(TrainingSettings)} | TrainingSettings().flat().keys()


def read_subjects(file: Path) -> tuple[str, ...]:
    """Read names of subjects, one a line; blank lines and what follows a ``#`` are left out."""
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no UTF-8 text"
        raise UsageError(f"the list of subjects {file} cannot be read", got=reason) from error
    names = tuple(dict.fromkeys(name for line in lines if (name := line.partition("#")[0].strip())))
    if not names:
        raise UsageError(f"the list of subjects {file} is empty", allowed="one subject a line")
    return names
