"""What a bundle says of itself: ``manifest.json`` as typed structs, checked when decoded.

The *input contract* tells how a crop becomes the input tensor, the *output contract* what the number
that comes back means. Both wings of the house read them from here and nowhere else.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from edgeleuk.bundle.descent import Descent  # noqa: TC001 - msgspec looks at it
from edgeleuk.bundle.numbers import (
    Amount,
    Count,
    Digest,
    Name,
    Number,
    Share,
    Text,
    require_ordered,
    require_range,
)
from edgeleuk.results.kinds import Kind  # noqa: TC001 - msgspec looks at it
from edgeleuk.version import RESEARCH_USE

SCHEMA_VERSION = 6
# What later versions added has defaults, so that an earlier bundle reads as one without it.
READABLE_VERSIONS = (1, 2, 3, 4, 5, 6)

MANIFEST = "manifest.json"
LABELS = "labels.json"
CALIBRATION = "calibration.json"
VALIDATION = "validation.json"
GOLDEN = "golden.npz"
CARD = "card.md"
TRAINING = "training.json"
FEATURES = "features.npz"
FOREST = "forest.npz"
SUPPORT = "support.npz"
KIND = "kind.npz"
BLAST = "blast.npz"
REFERENCE = "reference.npz"
INT8_TFLITE = "model.int8.tflite"
INT8_ONNX = "model.int8.onnx"
TENSORRT_ONNX = "model.int8.tensorrt.onnx"
FLOAT32_TFLITE = "model.float32.tflite"

Channel = Literal["red", "green", "blue", "luminance", "mask", "nucleus"]
# What of a picture becomes the tensor, and how it is resized.
Framing = Literal["centred", "picture", "box"]
Surroundings = Literal["black", "kept"]
Resize = Literal["halve-exact", "bilinear", "nearest", "area"]
Runtime = Literal["litert", "onnxruntime", "openvino", "cuda", "tensorrt"]
Precision = Literal["int8", "float32"]
# What makes a cell `uncertain` by its probability: a band around the threshold, a conformal set, nothing.
Abstain = Literal["band", "conformal", "off"]
Range = tuple[Amount, Amount]
OutputKind = Literal["logit", "probability", "logits", "softmax", "sigmoids"]
# Kinds that answer with one number for each class.
MANY_CLASSES = ("logits", "softmax", "sigmoids")


LARGEST_BIAS = 10.0
# A cell of 20 um has 1 pixel at the one end, 4,000 at the other.
PX_PER_UM = (0.05, 200.0)
# Numbers that an input tensor may hold: 3,300 x 3,300 in three colours.
LARGEST_TENSOR = 1 << 25
MOST_CHANNELS = 32
LARGEST_RIM_PX = 64
LARGEST_AREA = 1e6
# Ratios of colours, powers of detail, distances of features; cells come to a few units.
LARGEST_DISTANCE = 1e6
TEMPERATURES = (1e-6, 1e6)
FACTORS = (1e-9, 1e9)


class Struct(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base: immutable, and a field that nobody knows is an error, not a surprise."""


class ModelFile(Struct, frozen=True):
    """A member that holds a network: its name in reports, and what runs it, by default the first of these."""

    key: str
    runtimes: tuple[Runtime, ...]
    precision: Precision

    @property
    def runtime(self) -> Runtime:
        """The one that the bundle is validated with."""
        return self.runtimes[0]


# Every model a bundle may carry.
MODEL_FILES: dict[str, ModelFile] = {
    INT8_TFLITE: ModelFile(key="tflite_int8", runtimes=("litert",), precision="int8"),
    INT8_ONNX: ModelFile(key="onnx_int8", runtimes=("onnxruntime", "openvino", "cuda"), precision="int8"),
    TENSORRT_ONNX: ModelFile(key="tensorrt_int8", runtimes=("onnxruntime", "tensorrt"), precision="int8"),
    FLOAT32_TFLITE: ModelFile(key="reference", runtimes=("litert", "openvino"), precision="float32"),
}
REQUIRED_MEMBERS = (INT8_TFLITE, LABELS, CALIBRATION, VALIDATION, GOLDEN, TRAINING, CARD)


class InputContract(Struct, frozen=True):
    """How a crop of one cell becomes the network's input tensor.

    Attributes
    ----------
    height, width : int
        Of the tensor, in pixels; layout is NHWC.
    channels : tuple of str
        What each channel holds, in order. ``mask`` is 255 within the cell, ``nucleus`` in the darker part of
        it, and 0 elsewhere.
    normalise : bool
        Colour channels are brought to mean 128 and standard deviation 48 within the cell, so that stain
        and lamp drop out; the outside of the cell becomes 128. Otherwise colours stay, the outside is 0.
    px_per_um : float
        Scale of the tensor. A crop of another scale is resized to it, so that size stays a cue.
    rim_um : float
        This much is taken off the cell all around: there the background shines in, and no two
        segmentations agree.
    crop_px_per_um : float
        Scale to assume for a stand-alone crop whose own scale nobody knows.
    scale, offset : float, or one for each channel
        The network's real input is ``byte * scale + offset``.
    resize : str
        The resampling method. ``halve-exact``: exact halvings, then one bit-exact bilinear step, for
        ``centred``. ``bilinear`` (without smoothing), ``nearest`` and ``area`` for the others.
    centring : str
        What is put in the middle of the tensor: the cell's bounding box.
    framing : str
        ``centred``: the cell at `px_per_um` in the middle of the tensor. ``picture``: a whole picture of
        `picture_px` at `crop_px_per_um`, the cell in its middle, resized to the tensor. ``box``: the cell's
        bounding box at `crop_px_per_um`, resized to the tensor.
    picture_px : (height, width), optional
        Of a whole picture; for ``picture`` alone.
    surroundings : str
        What is around the cell in a picture or a box: ``black``, or ``kept`` as the camera saw it.
    """

    height: int
    width: int
    channels: tuple[Channel, ...]
    normalise: bool
    px_per_um: float
    crop_px_per_um: float
    rim_um: float = 0.0
    scale: Number | tuple[Number, ...] = 1.0
    offset: Number | tuple[Number, ...] = 0.0
    resize: Resize = "halve-exact"
    centring: Literal["bounding-box"] = "bounding-box"
    framing: Framing = "centred"
    picture_px: tuple[int, int] | None = None
    surroundings: Surroundings = "black"

    def __post_init__(self) -> None:
        for name, low, high in (
            ("height", 8, 4096),
            ("width", 8, 4096),
            ("px_per_um", *PX_PER_UM),
            ("crop_px_per_um", *PX_PER_UM),
            ("rim_um", 0, 2),
        ):
            require_range(name, getattr(self, name), low, high)
        require_range("rim_um * px_per_um", self.rim_um * self.px_per_um, 0, LARGEST_RIM_PX)
        if not self.channels:
            msg = "expected at least one channel, got none"
            raise ValueError(msg)
        require_range("the number of channels", len(self.channels), 1, MOST_CHANNELS)
        numbers = self.height * self.width * len(self.channels)
        require_range("height * width * channels", numbers, 1, LARGEST_TENSOR)
        for name in ("scale", "offset"):
            value = getattr(self, name)
            if isinstance(value, tuple) and len(value) != len(self.channels):
                msg = f"expected one {name} for each of {len(self.channels)} channels, got {len(value)}"
                raise ValueError(msg)
        for scale in self.scale if isinstance(self.scale, tuple) else (self.scale,):
            require_range("scale", abs(scale), *FACTORS)
        for offset in self.offset if isinstance(self.offset, tuple) else (self.offset,):
            require_range("offset", offset, -FACTORS[1], FACTORS[1])
        self._check_framing()

    def _check_framing(self) -> None:
        centred = self.framing == "centred"
        masks = {"mask", "nucleus"} & set(self.channels)
        if centred != (self.resize == "halve-exact"):
            msg = (
                f"expected the resize halve-exact of centred cells alone, got {self.resize} of {self.framing}"
            )
            raise ValueError(msg)
        if not centred and (self.normalise or self.rim_um or masks):
            msg = f"expected colours as they are, without masks, normalise or rim_um, of {self.framing}"
            raise ValueError(msg)
        if (self.framing == "picture") != (self.picture_px is not None):
            msg = f"expected picture_px of whole pictures alone, got {self.picture_px} of {self.framing}"
            raise ValueError(msg)
        if self.picture_px is not None and not all(8 <= side <= 4096 for side in self.picture_px):
            msg = f"expected picture_px from 8 to 4096, got {self.picture_px}"
            raise ValueError(msg)
        if centred and self.surroundings != "black":
            msg = "expected black surroundings of centred cells, got kept ones"
            raise ValueError(msg)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C) of the tensor."""
        return self.height, self.width, len(self.channels)


class Conformal(Struct, frozen=True):
    """Prediction sets by class: a class is in a cell's set while ``1 - its probability`` is within its limit.

    Attributes
    ----------
    alpha : float
        A new subject's cell lacks its true class in the set with at most this probability.
    limits : (negative, positive)
        A limit of 1 keeps the class in every set: too few subjects taught it for this `alpha`.
    subjects : (negative, positive)
        How many subjects each limit comes from.
    """

    alpha: Share
    limits: tuple[Share, Share]
    subjects: tuple[Count, Count]

    def __post_init__(self) -> None:
        if not (0 < self.alpha < 1 and all(0 <= limit <= 1 for limit in self.limits)):
            msg = f"expected 0 < alpha < 1 and limits from 0 to 1, got {self}"
            raise ValueError(msg)


class OutputContract(Struct, frozen=True):
    """What the network's output means, and how a decision is made of it.

    Where the bundle has a head for blasts, ``blast.npz``, its score takes the place of the network's output.
    The probability of the positive class is ``sigmoid(logit / temperature + forest_weight * forest + bias)``,
    where ``logit`` is the log odds of the positive class against all others, and ``forest`` the log odds that
    the bundle's forest gives.

    Attributes
    ----------
    kind : str
        ``logit``: one number, before the sigmoid; ``probability``: one, after it. ``logits``: one number for
        each class, before the softmax; ``softmax``: after it, or a sigmoid for each class, whose shares of
        the sum count. ``sigmoids``: before these sigmoids.
    labels : (negative, positive), or one for each class
    positive : str, tuple of str, or None
        The label, or the labels, whose probability counts; None is the last.
    temperature : float
        Divides the logit before the sigmoid.
    bias : float
        Added after that: corrects the prior.
    forest_weight : float
        Of the forest on the cell's plain numbers; 0 where the bundle has none.
    threshold : float
        Probability at and above which a cell is called positive.
    abstain : (low, high)
        Probabilities strictly between these are ``uncertain``; equal ends switch abstention off.
    conformal : Conformal or None
        The other way to abstain, for who asks for it.
    """

    kind: OutputKind
    labels: tuple[Name, ...] = ("normal", "blast")
    positive: str | tuple[str, ...] | None = None
    temperature: float = 1.0
    bias: float = 0.0
    forest_weight: float = 0.0
    threshold: float = 0.5
    abstain: tuple[float, float] = (0.5, 0.5)
    conformal: Conformal | None = None

    def __post_init__(self) -> None:
        count = len(self.labels)
        if count != len(set(self.labels)) or count < 2 or (count > 2 and self.kind not in MANY_CLASSES):
            msg = f"expected labels that differ, 2 of a {self.kind}, got {', '.join(self.labels) or 'none'}"
            raise ValueError(msg)
        positive = (self.positive,) if isinstance(self.positive, str) else self.positive or ()
        if not set(positive) < set(self.labels) or (self.positive is not None and not positive):
            msg = f"expected positive as one of {', '.join(self.labels)}, got {', '.join(positive)}"
            raise ValueError(msg)
        if not -LARGEST_BIAS <= self.bias <= LARGEST_BIAS:
            msg = f"expected bias from {-LARGEST_BIAS:g} to {LARGEST_BIAS:g}, got {self.bias}"
            raise ValueError(msg)
        if not 0 <= self.forest_weight <= LARGEST_BIAS:
            msg = f"expected forest_weight from 0 to {LARGEST_BIAS:g}, got {self.forest_weight}"
            raise ValueError(msg)
        require_ordered("abstain", self.abstain, 0, 1)
        if not 0 < self.threshold < 1:
            msg = f"expected 0 < threshold < 1, got {self.threshold}"
            raise ValueError(msg)
        require_range("temperature", self.temperature, *TEMPERATURES)

    @property
    def width(self) -> int:
        """How many numbers the network answers with."""
        return len(self.labels) if self.kind in MANY_CLASSES else 1

    @property
    def positive_indices(self) -> tuple[int, ...]:
        """Indices of the positive classes among the labels."""
        if self.positive is None:
            return (len(self.labels) - 1,)
        positive = (self.positive,) if isinstance(self.positive, str) else self.positive
        return tuple(index for index, label in enumerate(self.labels) if label in positive)

    @property
    def positive_label(self) -> str:
        """Name of the positive class, or of all of them."""
        return " or ".join(self.labels[index] for index in self.positive_indices)

    @property
    def negative_label(self) -> str:
        """Name of the other class, or of all others."""
        positive = self.positive_indices
        return " or ".join(label for index, label in enumerate(self.labels) if index not in positive)


class Envelope(Struct, frozen=True):
    """What the training cells looked like; a cell outside is ``uncertain``, not classified.

    Attributes
    ----------
    area_um2 : (low, high)
        Area of the whole cell.
    """

    area_um2: tuple[float, float]

    def __post_init__(self) -> None:
        require_ordered("area_um2", self.area_um2, 0, LARGEST_AREA)


class Appearance(Struct, frozen=True):
    """How the training cells looked before they were normalised: see `edgeleuk.classifier.appearance`.

    Attributes
    ----------
    red_to_green, blue_to_green, red_to_blue : (low, high)
        Ratios of the channels' means within the cell.
    sharpness : (low, high)
        Power of fine over coarser detail, at the network's scale.
    """

    red_to_green: Range
    blue_to_green: Range
    red_to_blue: Range
    sharpness: Range

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            low, high = getattr(self, name)
            if not low <= high:
                msg = f"expected {name} as (low, high), got {(low, high)}"
                raise ValueError(msg)
            require_ordered(name, (low, high), 0, LARGEST_DISTANCE)


class FeatureLimit(Struct, frozen=True):
    """How far a cell's features may lie from the training cells': see ``features.npz``.

    Attributes
    ----------
    limit : float
        Largest distance; see `edgeleuk.bundle.features`.
    cells, subjects : int
        That the statistics come from.
    """

    limit: float
    cells: Count
    subjects: Count

    def __post_init__(self) -> None:
        if not self.limit > 0:
            msg = f"expected a limit above 0, got {self.limit}"
            raise ValueError(msg)
        require_range("limit", self.limit, 0, LARGEST_DISTANCE)
        require_range("subjects", self.subjects, 0, self.cells)


class OutOfDistribution(Struct, frozen=True):
    """What the training cells looked like besides their area; a cell outside is ``uncertain``.

    Attributes
    ----------
    appearance : Appearance
    features : FeatureLimit or None
        None where the network does not give its features.
    """

    appearance: Appearance
    features: FeatureLimit | None = None


class KindContract(Struct, frozen=True):
    """What the head for kinds names, and when it does not know: see ``kind.npz``.

    A cell is ``uncertain`` where it lies too far from all cells that taught the head, or where neither one
    kind nor the lymphoid ones together are probable enough.

    Attributes
    ----------
    kinds : tuple of Kind
        In the order of the head's scores.
    sharpness : float
        Of the softmax that makes probabilities of scores.
    least : float
        Probability from which on a kind is told.
    area_um2 : (low, high)
        Of the cells that taught it, with a margin.
    distances : tuple of float
        For each kind, the largest distance from the nearest cell that taught the head.
    cells, slides : int
        That taught it.
    """

    kinds: tuple[Kind, ...]
    sharpness: float
    least: Share
    area_um2: tuple[float, float]
    distances: tuple[float, ...]
    cells: Count
    slides: Count

    def __post_init__(self) -> None:
        if len(self.kinds) < 2 or len(set(self.kinds)) < len(self.kinds):
            msg = f"expected two or more kinds that differ, got {', '.join(self.kinds) or 'none'}"
            raise ValueError(msg)
        require_range("sharpness", self.sharpness, *FACTORS)
        require_ordered("area_um2", self.area_um2, 0, LARGEST_AREA)
        if len(self.distances) != len(self.kinds):
            msg = f"expected a distance for each of {len(self.kinds)} kinds, got {len(self.distances)}"
            raise ValueError(msg)
        for distance in self.distances:
            require_range("distances", distance, 0, LARGEST_DISTANCE)
        require_range("slides", self.slides, 0, self.cells)


class Member(Struct, frozen=True):
    """Hash and size of one member of the bundle."""

    sha256: Digest
    size_bytes: Count


class Provenance(Struct, frozen=True):
    """Where the network comes from.

    Attributes
    ----------
    float_parent_sha256 : str
        Hash of the Keras file that was converted.
    architecture : str
    parameters : int
    tools : dict
        Package name to version.
    training_subjects : tuple of str
        Subjects the network has seen; evaluation leaves them out.
    training_known : bool
        False for a network without a training record: then these are the subjects that calibrated it.
    contract_inferred : bool
        How the network is fed, and what its answer means, was found out by the labels.
    """

    float_parent_sha256: Name
    architecture: Name
    parameters: Count
    tools: dict[Name, Text]
    training_subjects: tuple[Text, ...] = ()
    training_known: bool = True
    contract_inferred: bool = False


class Manifest(Struct, frozen=True):
    """The whole of ``manifest.json``."""

    schema_version: Count
    name: Name
    input: InputContract
    output: OutputContract
    envelope: Envelope
    provenance: Provenance
    members: dict[str, Member]
    licence: Text
    data_citation: Text
    intended_use: Text = RESEARCH_USE
    gate: OutOfDistribution | None = None
    kind: KindContract | None = None
    descent: Descent = ()

    @property
    def model_names(self) -> tuple[str, ...]:
        """Members that are networks, in the order of `MODEL_FILES`."""
        return tuple(name for name in MODEL_FILES if name in self.members)
