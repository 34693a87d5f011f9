"""The networks that can be trained, by name.

All take bytes (as float32, 0 to 255) and end in one number named ``logit``. They are built from
operations that int8 TFLite has: convolution, pooling, addition, concatenation, ReLU, mean, fully
connected.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from edgeleuk.bundle.manifest import Channel, InputContract
from edgeleuk.errors import UsageError
from edgeleuk_convert.dataset.cells import CNMC_PX_PER_UM
from edgeleuk_convert.dataset.cnmc import USUAL_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# A network or a tensor of Keras, which has no types.
Keras: TypeAlias = Any

OUTPUT_NAME = "logit"

TENSOR_PX_PER_UM = 7.4
# C-NMC's outermost pixels are mixed with black; a camera's with the background.
RIM_UM = 0.27
# On inner groups (AUROC .87) better than luminance and mask (.83).
CHANNELS: tuple[Channel, ...] = ("red", "green", "blue", "mask")
FINE_SIZE, FINE_PX_PER_UM = 192, 12.0
FROZEN_SIZE = 304
# With one support vector of 448 numbers.
FROZEN_PARAMETERS = 718_851
STUDENT_SIZE = 152
SEED_SIZE = 200
# Above this much, training says beforehand what memory it takes.
MUCH_MEMORY_BYTES = 1e9
# float32: the weight, its gradient, and Adam's two moments.
TRAINING_BYTES_PER_PARAMETER = 4 * 4
# Peak of the conversion to int8 TFLite, measured on seed-resnet: 6.7 GB.
CONVERTING_BYTES_PER_PARAMETER = 70


def default_input(size: int = 128, channels: tuple[Channel, ...] = CHANNELS) -> InputContract:
    """Return the input contract of the project's networks: colours, each normalised in the cell, and mask."""
    return InputContract(
        height=size,
        width=size,
        channels=channels,
        normalise=True,
        px_per_um=TENSOR_PX_PER_UM * size / 128,
        crop_px_per_um=CNMC_PX_PER_UM,
        rim_um=RIM_UM,
    )


def fine_input() -> InputContract:
    """Return the input contract of the pretrained networks: no mask, and the chromatin at twice the scale.

    On inner groups, features of EfficientNet-Lite0 that were left as they are told the classes apart
    better at 13 px/um (AUROC .82, and .78 on the hard subjects) than at 7.4 (.79, .71). The field of 16 um
    cuts the edge of one cell in 25.
    """
    return InputContract(
        height=FINE_SIZE,
        width=FINE_SIZE,
        channels=("red", "green", "blue"),
        normalise=True,
        px_per_um=FINE_PX_PER_UM,
        crop_px_per_um=CNMC_PX_PER_UM,
        rim_um=RIM_UM,
    )


def frozen_input() -> InputContract:
    """Return the input contract of support vectors on a pretrained network: C-NMC's own scale, and masks.

    On inner groups the finer the better (AUROC .81 at 13 px/um, .86 at 18.5), and cell and nucleus better
    than the cell alone (.87, .86). 304 is 19 places of 16 pixels.
    """
    return InputContract(
        height=FROZEN_SIZE,
        width=FROZEN_SIZE,
        channels=("red", "green", "blue", "mask", "nucleus"),
        normalise=True,
        px_per_um=CNMC_PX_PER_UM,
        crop_px_per_um=CNMC_PX_PER_UM,
        rim_um=RIM_UM,
    )


def student_input() -> InputContract:
    """Return the input contract of a student: the field of `frozen_input`, at what optics resolve.

    An objective of NA 1.25 resolves .27 um, which takes 7.4 px/um; these are 9.25. What the teacher sees of
    such cells, enlarged, tells the classes apart nearly as well (AUROC .886 on inner groups, and .890).
    """
    return msgspec.structs.replace(
        frozen_input(),
        height=STUDENT_SIZE,
        width=STUDENT_SIZE,
        px_per_um=CNMC_PX_PER_UM * STUDENT_SIZE / FROZEN_SIZE,
    )


def seed_input() -> InputContract:
    """Return the input contract of the seed's networks: a whole C-NMC picture, colours as they are."""
    return InputContract(
        height=SEED_SIZE,
        width=SEED_SIZE,
        channels=("red", "green", "blue"),
        normalise=False,
        px_per_um=CNMC_PX_PER_UM * SEED_SIZE / USUAL_SIZE[0],
        crop_px_per_um=CNMC_PX_PER_UM,
    )


@dataclass(frozen=True, slots=True)
class Architecture:
    """What is known of a network before it is built.

    Attributes
    ----------
    builder : str
        ``module:function``.
    description : str
        One line.
    parameters : int
        At the default input.
    default_input : callable
        Returns the input contract it is trained with unless another one is given.
    backbone : tuple of str
        How the names of the pretrained layers that are trained begin. These can be frozen for a while, or
        trained more slowly.
    recipe : mapping
        Settings of a training that this network wants to be others than usual.
    support_vectors : bool
        Whether its layers stay as they are, and all that is trained is support vectors behind them. Their
        number is not known beforehand: `parameters` counts one.
    teacher : str
        The architecture whose map it is taught to give, unless another is named; empty for one that
        learns otherwise.
    """

    builder: str
    description: str
    parameters: int
    default_input: Callable[[], InputContract] = default_input
    backbone: tuple[str, ...] = ()
    recipe: Mapping[str, float] = field(default_factory=dict)
    support_vectors: bool = False
    teacher: str = ""

    @property
    def pretrained(self) -> bool:
        """Whether it starts from ImageNet weights."""
        return bool(self.backbone) or (self.support_vectors and not self.teacher)

    @property
    def training_bytes(self) -> int:
        """Memory for weights, gradients and Adam's moments in float32."""
        return self.parameters * TRAINING_BYTES_PER_PARAMETER


_HERE = "edgeleuk_convert.networks.architectures"
# What begins with good weights needs less of everything.
_FINE_TUNING = {"epochs": 5, "learning_rate": 1e-3, "warmup_epochs": 1.0}
# There are no labels to overfit: little decay, a short memory.
_DISTILLATION = {
    "epochs": 14,
    "batch": 8,
    "learning_rate": 0.04,
    "weight_decay": 1e-4,
    "warmup_epochs": 1.0,
    "average_decay": 0.99,
}
# Name on the command line -> what it is.
ARCHITECTURES: dict[str, Architecture] = {
    "baseline": Architecture(
        f"{_HERE}.edge:build_baseline", "plain 3x3 convolutions in four stages", 468_737
    ),
    "inception": Architecture(
        f"{_HERE}.edge:build_inception", "modules of three branches in four stages", 435_457
    ),
    "resnet": Architecture(f"{_HERE}.edge:build_resnet", "3x3 residual blocks in four stages", 608_513),
    "efficientnet-lite0": Architecture(
        f"{_HERE}.efficientnet_lite:build_efficientnet_lite0",
        "EfficientNet-Lite0",
        3_414_305,
        fine_input,
        backbone=(*(f"block{number}_" for number in range(5, 16)), "head_"),
        recipe=_FINE_TUNING,
    ),
    "efficientnet-lite0-narrow": Architecture(
        f"{_HERE}.efficientnet_lite:build_efficientnet_lite0_narrow",
        "its first five stages, new head",
        746_881,
        fine_input,
        backbone=tuple(f"block{number}_" for number in range(5, 11)),
        recipe=_FINE_TUNING,
    ),
    "efficientnet-lite0-frozen": Architecture(
        f"{_HERE}.efficientnet_lite:build_efficientnet_lite0_frozen",
        "the same untrained, and support vectors",
        FROZEN_PARAMETERS,
        frozen_input,
        support_vectors=True,
    ),
    "student": Architecture(
        f"{_HERE}.student:build_student",
        "taught what a teacher sees, then support vectors",
        299_155,
        student_input,
        recipe=_DISTILLATION,
        support_vectors=True,
        teacher="efficientnet-lite0-frozen",
    ),
    "seed-baseline": Architecture(
        f"{_HERE}.seed:build_seed_baseline", "original: two convolutions, dense", 5_125_969, seed_input
    ),
    "seed-inception": Architecture(
        f"{_HERE}.seed:build_seed_inception", "original: one module, dense", 192_815_261, seed_input
    ),
    "seed-resnet": Architecture(
        f"{_HERE}.seed:build_seed_resnet", "original: one residual block, dense", 96_037_201, seed_input
    ),
}


def architecture(name: str) -> Architecture:
    """Look up an architecture, with a `UsageError` that lists them all."""
    if name not in ARCHITECTURES:
        raise UsageError("unknown architecture", got=name, allowed=", ".join(sorted(ARCHITECTURES)))
    return ARCHITECTURES[name]


def build(
    name: str,
    contract: InputContract,
    *,
    dtype: str = "float32",
    dropout: float = 0.2,
    pretrained: bool = True,
) -> Keras:
    """Build a network that has not seen a cell yet.

    Parameters
    ----------
    name : str
        A key of `ARCHITECTURES`.
    contract : InputContract
        Gives the shape of the input.
    dtype : str
        ``float32``, or ``mixed_bfloat16`` to train faster; the weights are float32 in both.
    dropout : float
        Share of the pooled features that is dropped in training (of the seed's: after each pooling).
    pretrained : bool
        Begin with ImageNet weights, where the architecture has some.

    Returns
    -------
    keras.Model
        (n, H, W, C) float32 bytes -> (n, 1) float32 logit.
    """
    entry = architecture(name)
    module, _, function = entry.builder.partition(":")
    builder: Callable[..., Keras] = getattr(import_module(module), function)
    if entry.pretrained:
        weights = "imagenet" if pretrained else None
        return builder(contract, dtype=dtype, dropout=dropout, weights=weights)
    return builder(contract, dtype=dtype, dropout=dropout)


def list_text() -> str:
    """Return the table that ``edgeleuk train --list`` prints."""
    rows = [("NAME", "PARAMETERS", "INPUT", "START", "WHAT IT IS")]
    for name, entry in ARCHITECTURES.items():
        shape = "x".join(map(str, entry.default_input().shape))
        start = "ImageNet" if entry.pretrained else "random"
        rows.append((name, f"{entry.parameters:,}", shape, start, entry.description))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for name, parameters, *rest in rows:
        cells = [name.ljust(widths[0]), parameters.rjust(widths[1])]
        cells += [cell.ljust(width) for cell, width in zip(rest, widths[2:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def memory_warning(name: str) -> str | None:
    """Say what memory training and converting a large network takes; None for one that takes little."""
    entry = architecture(name)
    if entry.training_bytes < MUCH_MEMORY_BYTES:
        return None
    weights = entry.parameters * 4 / 1e9
    return (
        f"{name} has {entry.parameters:,} parameters: training holds {entry.training_bytes / 1e9:.1f} GB of "
        f"weights, gradients and Adam's two moments, and {weights:.1f} GB for the average of the weights and "
        f"again for the best of them; converting to int8 takes about "
        f"{entry.parameters * CONVERTING_BYTES_PER_PARAMETER / 1e9:.0f} GB"
    )


def multiply_adds(model: Keras) -> int:
    """Count the multiply-adds of the convolutions and dense layers for one cell."""
    total = 0
    for layer in model.layers:
        kernel = getattr(layer, "kernel", None)
        if kernel is None:
            continue
        positions = math.prod(layer.output.shape[1:-1])
        total += positions * math.prod(kernel.shape)
    return total
