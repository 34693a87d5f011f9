"""What a conversion is asked for: one object for the command line, for Python, and for every step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from edgeleuk.errors import UsageError
from edgeleuk.io.console import say
from edgeleuk_calibration.calibration_record import read_calibration_record
from edgeleuk_calibration.selection import LEAST_IMAGES, STRATEGIES
from edgeleuk_convert.bundling.calibrate import Choice
from edgeleuk_convert.bundling.converted import Also, Recipe
from edgeleuk_convert.bundling.foreign import FOLDS
from edgeleuk_convert.commands.read_cells import DataOptions
from edgeleuk_convert.metrics.acceptance import load_limits
from edgeleuk_convert.quantization.onnx import OnnxCalibration
from edgeleuk_convert.training.record import record_path

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edgeleuk_convert.metrics.acceptance import AcceptanceLimits

LARGEST_SIDE = 4096


@dataclass(frozen=True, slots=True)
class ConvertOptions:
    """How a network is converted; None stands for what is usual.

    Attributes
    ----------
    images, seed : int or None
    strategy : str or None
        How to choose calibration images; 100, 0 and ``balanced``.
    calibration_record : Path or None
        Names them instead.
    contract : Path or None
        Says of a network without a training record how its input is made and what its output means.
    size : str or None
        ``224`` or ``224x320``, in pixels, for a network that takes pictures of any size.
    output : str or None
        Which output, for a network with several.
    onnx_calibration : str
        How ranges of the ONNX networks come from values.
    tensorrt : bool
        Add a network for TensorRT.
    also : sequence of str
        Further TFLite files, beside the bundle.
    repair : bool
        Mend int8 networks that fail.
    limits_file : Path or None
        TOML with a table ``[gate]``. What fails it becomes ``NAME.rejected.edgeleuk``; a ``NAME.edgeleuk``
        that was there stays.
    classes : str or None
    subjects : Path or None
    px_per_um : float or None
        How the user's own pictures are read: see `DataOptions`.
    folds : int or None
        Parts that the groups are divided into for a network without a training record; 3.
    answers : Path or None
        Folder of the cross-validation whose folds judge a network that has seen every subject.
    """

    images: int | None = None
    seed: int | None = None
    strategy: str | None = None
    calibration_record: Path | None = None
    contract: Path | None = None
    size: str | None = None
    output: str | None = None
    onnx_calibration: str = "minmax"
    tensorrt: bool = False
    also: Sequence[str] = ()
    repair: bool = False
    limits_file: Path | None = None
    classes: str | None = None
    subjects: Path | None = None
    px_per_um: float | None = None
    folds: int | None = None
    answers: Path | None = None


@dataclass(frozen=True, slots=True)
class ConversionPlan:
    """Options that were checked, and what they mean.

    Attributes
    ----------
    options : ConvertOptions
    limits : AcceptanceLimits
    recipe : Recipe
    choice : Choice
        Of calibration images.
    data : DataOptions
    pixels : (int, int) or None
        Height and width.
    folds : int
    """

    options: ConvertOptions
    limits: AcceptanceLimits
    recipe: Recipe
    choice: Choice
    data: DataOptions
    pixels: tuple[int, int] | None
    folds: int

    def card_notes(self) -> dict[str, Any]:
        """Return what the model card repeats of the command; files of the user's stay unnamed."""
        options, choice = self.options, self.choice
        if choice.card is None:
            notes = {"images": choice.images, "seed": choice.seed, "strategy": options.strategy}
        else:
            notes = {"calibration_record": "FILE"}
        return notes | {
            "contract": None if options.contract is None else options.contract.name,
            "size": options.size,
            "output": options.output,
            "onnx_calibration": None if options.onnx_calibration == "minmax" else options.onnx_calibration,
            "tensorrt": options.tensorrt,
            "repair": options.repair,
            "classes": options.classes,
            "subjects": None if options.subjects is None else "FILE",
            "px_per_um": options.px_per_um,
            "folds": options.folds,
            "answers": None if options.answers is None else "DIR",
        }


def plan_conversion(model: Path, options: ConvertOptions) -> ConversionPlan:
    """Check the options against each other and against what stands beside the network.

    Raises
    ------
    UsageError
        An option is out of range, or contradicts another or the network's training record.
    """
    plan = ConversionPlan(
        options,
        load_limits(options.limits_file),
        _recipe(options.onnx_calibration, options.tensorrt, options.also),
        calibration_choice(
            images=options.images,
            seed=options.seed,
            strategy=options.strategy,
            card=options.calibration_record,
        ),
        DataOptions.parse(options.classes, options.subjects, options.px_per_um),
        parse_size(options.size),
        options.folds or FOLDS,
    )
    _require_record_or_contract(model, options.contract, options.folds)
    return plan


def parse_size(text: str | None) -> tuple[int, int] | None:
    """Read height and width from ``224`` or ``224x320``.

    Raises
    ------
    UsageError
        It is neither.

    Examples
    --------
    >>> parse_size("96"), parse_size("96x128"), parse_size(None)
    ((96, 96), (96, 128), None)
    """
    if text is None:
        return None
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(part.isdecimal() and 0 < int(part) <= LARGEST_SIDE for part in parts):
        raise UsageError("--size is no size", got=text, allowed=f"224 or 224x320, 1 to {LARGEST_SIDE} px")
    return int(parts[0]), int(parts[-1])


def calibration_choice(
    *, images: int | None, seed: int | None, strategy: str | None, card: Path | None = None
) -> Choice:
    """Check how calibration images are asked for, before anything is read."""
    if card is not None:
        if (images, seed, strategy) != (None, None, None):
            raise UsageError(
                "a calibration record names the images", cure="leave out --images, --seed and --strategy"
            )
        read = read_calibration_record(card)
        return Choice(len(read.images), read.strategy, read.seed, read)
    if images is not None and images < LEAST_IMAGES:
        raise UsageError(
            "the number of calibration images is out of range", got=images, allowed=f"{LEAST_IMAGES} or more"
        )
    if strategy is not None and strategy not in STRATEGIES:
        raise UsageError("unknown calibration strategy", got=strategy, allowed=", ".join(STRATEGIES))
    default = Choice()
    return Choice(
        default.images if images is None else images,
        strategy or default.strategy,
        default.seed if seed is None else seed,
    )


def _recipe(onnx_calibration: str, tensorrt: bool, also: Sequence[str]) -> Recipe:
    """Check what was asked for, and warn of what is slow."""
    for flag, given, allowed in (
        ("--onnx-calibration", (onnx_calibration,), get_args(OnnxCalibration)),
        ("--also", also, get_args(Also)),
    ):
        if unknown := [word for word in given if word not in allowed]:
            raise UsageError(
                f"{flag} has a value that nobody knows", got=unknown[0], allowed=", ".join(allowed)
            )
    if "int16x8" in also:
        say("warning: XNNPACK has no kernels for int16x8: expect it to be about 20 times as slow as int8")
    return Recipe(onnx_calibration, tensorrt, tuple(also))  # type: ignore[arg-type]


def _require_record_or_contract(model: Path, contract: Path | None, folds: int | None) -> None:
    if folds is not None and record_path(model).exists():
        raise UsageError(
            "--folds divides the groups for a network without a training record",
            got=record_path(model).name,
            cure="leave out --folds",
        )
    if contract is not None and record_path(model).exists():
        raise UsageError(
            "the network has a training record, and a contract is given as well",
            got=f"{record_path(model).name} and {contract.name}",
            cure="leave out --contract, or move the record away",
        )
