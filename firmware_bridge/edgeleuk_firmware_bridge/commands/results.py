"""What `edgeleuk stage` and `edgeleuk mcu` print with ``--json``; their schemas stand in ``docs/schema``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgeleuk_firmware_bridge.mcu.vela import VelaReport  # noqa: TC001 - the schema is made of it

FITS: Literal["fits"] = "fits"
TOO_LARGE: Literal["too large"] = "too large"


@dataclass(frozen=True, slots=True, kw_only=True)
class Micrometres:
    """Where a stage is."""

    x: float
    y: float
    z: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MotorSteps:
    """The same, as the board counts it."""

    x: int
    y: int
    z: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StagePosition:
    """What ``stage move``, ``home`` and ``stop`` print.

    Attributes
    ----------
    schema_version : int
    stage : str
        Its address.
    position_um : Micrometres
    steps : MotorSteps
    """

    schema_version: int
    stage: str
    position_um: Micrometres
    steps: MotorSteps


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardLock:
    """What holds a board that would not move, by its firmware's number where it tells one, and the cure."""

    code: int | None
    meaning: str
    cure: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StageInfo(StagePosition):
    """What ``stage info`` prints.

    Attributes
    ----------
    protocol, firmware, board : str
    state : str
        In the firmware's own word.
    locked : BoardLock or None
        None where the board would move.
    can_home, can_stop : bool
    can_focus : bool
        It has an autofocus of its own.
    channels : dict of str to float
        Lamp -> its level, 0 to 1.
    """

    protocol: str
    firmware: str
    board: str
    state: str
    locked: BoardLock | None
    can_home: bool
    can_stop: bool
    can_focus: bool
    channels: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardState:
    """A board's state in its firmware's own word, and what it means."""

    state: str
    code: int | None
    meaning: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UnlockedStage(StagePosition):
    """What ``stage unlock`` prints: whether it was locked, and the state that it was in."""

    unlocked: bool
    was: BoardState


@dataclass(frozen=True, slots=True, kw_only=True)
class FlashPart:
    """What a part of a firmware takes of flash."""

    name: str
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Flash:
    """What a network and what stands beside it take of flash, without code."""

    bytes: int
    parts: tuple[FlashPart, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitedFlash(Flash):
    """The same beside what a board has; what is left is below 0 where it does not fit."""

    limit_bytes: int
    left_bytes: int
    fits: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Ram:
    """What a call needs of RAM.

    Attributes
    ----------
    bytes, reserved_bytes : int
        TFLite Micro's arena, and with a margin.
    activations_bytes, input_bytes : int
        Of these, activations, and of those the input.
    cell_bytes : int
        Beside the arena: what the exported C keeps of a cell.
    known : str
    by : str or None
        The package that measured the arena, None where it is a bound.
    """

    bytes: int
    reserved_bytes: int
    activations_bytes: int
    input_bytes: int
    cell_bytes: int
    known: Literal["measured", "bounded"]
    by: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitedRam(Ram):
    """The same beside what a board has; see `LimitedFlash`."""

    limit_bytes: int
    left_bytes: int
    fits: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSize:
    """A tensor of a network."""

    name: str
    shape: tuple[int, ...]
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PeakOperation:
    """The operation during which most bytes of activations are alive, and the largest of them."""

    index: int
    operator: str
    bytes: int
    tensors: tuple[TensorSize, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSize:
    """What ``mcu check`` and ``mcu export`` both say of a network.

    Attributes
    ----------
    schema_version : int
    network_sha256 : str
    flash : Flash
    ram : Ram
    operators : tuple of str
        Methods of TFLite Micro's resolver.
    not_carried : tuple of FlashPart
        Parts of the bundle that are not exported, as large as they are there.
    largest_weights : tuple of TensorSize
    peak : PeakOperation or None
    """

    schema_version: int
    network_sha256: str
    flash: Flash
    ram: Ram
    operators: tuple[str, ...]
    not_carried: tuple[FlashPart, ...]
    largest_weights: tuple[TensorSize, ...]
    peak: PeakOperation | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardCheck(NetworkSize):
    """What ``mcu check`` prints; ``vela`` is None where nothing was compiled for an Ethos-U."""

    flash: LimitedFlash
    ram: LimitedRam
    vela: VelaReport | None
    verdict: Literal["fits", "too large"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenVectors:
    """The cells that an export's program runs, and how far outputs may be from the golden ones.

    Attributes
    ----------
    cells, bytes : int
    by : str
        What made the golden outputs.
    tflite_micro_steps : int or None
        Found here; None where `tflite-micro` is not installed.
    fast_kernels_steps : int
    fast_kernels_log_odds : float
    """

    cells: int
    bytes: int
    by: str
    tflite_micro_steps: int | None
    fast_kernels_steps: int
    fast_kernels_log_odds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedNetwork(NetworkSize):
    """What ``mcu export`` prints.

    Attributes
    ----------
    folder : str
    bundle_sha256 : str
    golden : GoldenVectors
    outputs : tuple of str
        What each output means.
    left_to_firmware : tuple of str
        What a firmware has to do itself.
    files : dict of str to str
        sha256 of each.
    """

    folder: str
    bundle_sha256: str
    golden: GoldenVectors
    outputs: tuple[str, ...]
    left_to_firmware: tuple[str, ...]
    files: dict[str, str]
