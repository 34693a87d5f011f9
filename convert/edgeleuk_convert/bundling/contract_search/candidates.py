"""What networks are usually fed: ranges of values, orders of colours, framings, kinds of resizing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeleuk.bundle.manifest import InputContract
from edgeleuk_convert.dataset.cnmc import USUAL_SIZE

if TYPE_CHECKING:
    from edgeleuk.bundle.manifest import Channel, Framing, Resize, Surroundings

RGB: tuple[Channel, ...] = ("red", "green", "blue")
BGR: tuple[Channel, ...] = ("blue", "green", "red")
GREY: tuple[Channel, ...] = ("luminance",)
# Means of ImageNet's colours and their deviations, as torchvision and keras.applications write them.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CAFFE_MEAN = (123.68, 116.779, 103.939)


@dataclass(frozen=True, slots=True)
class Values:
    """What the bytes of a picture become: ``byte * scale + offset``, each a number or one for each of RGB."""

    title: str
    scale: float | tuple[float, ...] = 1.0
    offset: float | tuple[float, ...] = 0.0

    def of(self, channels: tuple[Channel, ...]) -> tuple[Any, Any]:
        """Return scale and offset in the order of some channels."""
        if isinstance(self.scale, float) and isinstance(self.offset, float):
            return self.scale, self.offset
        order = [RGB.index(channel) for channel in channels]
        both = [of if isinstance(of, tuple) else (of,) * 3 for of in (self.scale, self.offset)]
        return tuple(both[0][index] for index in order), tuple(both[1][index] for index in order)


# The most frequent first: where two cannot be told apart, the first is taken.
VALUES = (
    Values("0 to 1", 1 / 255),
    Values("-1 to 1", 1 / 127.5, -1.0),
    Values("bytes, 0 to 255"),
    Values("ImageNet's means taken off (caffe's way)", 1.0, tuple(-mean for mean in CAFFE_MEAN)),
    Values(
        "ImageNet's means and deviations (torch's way)",
        tuple(1 / (255 * std) for std in IMAGENET_STD),
        tuple(-mean / std for mean, std in zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)),
    ),
)
FRAMINGS: tuple[Framing, ...] = ("picture", "centred", "box")
FRAMED = {
    "picture": "the whole picture resized",
    "centred": "the cell centred",
    "box": "the cell's box resized",
}
RESIZES: tuple[Resize, ...] = ("bilinear", "nearest", "area")


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to make a network's input.

    Attributes
    ----------
    values : Values
    channels : tuple of str
    framing : str
    resize : str
    """

    values: Values
    channels: tuple[Channel, ...]
    framing: Framing
    resize: Resize

    @property
    def title(self) -> str:
        """The way in words."""
        order = {RGB: "RGB", BGR: "BGR", GREY: "grey"}[self.channels]
        return f"{FRAMED[self.framing]} ({self.resize}), {order}, {self.values.title}"

    def contract(
        self,
        height: int,
        width: int,
        crop_px_per_um: float,
        picture_px: tuple[int, int] = USUAL_SIZE,
        surroundings: Surroundings = "black",
    ) -> InputContract:
        """Return the input contract for a network of this size and pictures of this scale and size."""
        scale, offset = self.values.of(self.channels)
        return InputContract(
            height=height,
            width=width,
            channels=self.channels,
            normalise=False,
            px_per_um=crop_px_per_um * height / picture_px[0],
            crop_px_per_um=crop_px_per_um,
            scale=scale,
            offset=offset,
            framing=self.framing,
            resize=self.resize,
            surroundings="black" if self.framing == "centred" else surroundings,
            picture_px=picture_px if self.framing == "picture" else None,
        )


def first_candidates(depth: int, *, rescales: bool) -> list[Candidate]:
    """Return what is tried first: every range of values, order and framing, resized bilinearly.

    Parameters
    ----------
    depth : int
        Channels of the network's input, 1 or 3.
    rescales : bool
        The network brings bytes to its own range itself: bytes come first then, so that nothing is done twice
        unless that is plainly better.
    """
    values = list(VALUES)
    if rescales:
        values.sort(key=lambda of: of.scale != 1.0 or of.offset != 0.0)
    if depth == 1:
        values = [of for of in values if isinstance(of.scale, float) and isinstance(of.offset, float)]
        return [Candidate(of, GREY, framing, _usual(framing)) for of in values for framing in FRAMINGS]
    return [
        Candidate(of, order, framing, _usual(framing))
        for of in values
        for order in ((BGR, RGB) if isinstance(of.offset, tuple) and of.scale == 1.0 else (RGB, BGR))
        for framing in FRAMINGS
    ]


def otherwise_resized(candidate: Candidate) -> list[Candidate]:
    """Return the same way with the other kinds of resizing, where it resizes pictures."""
    if candidate.framing == "centred":
        return []
    others = (kind for kind in RESIZES if kind != candidate.resize)
    return [Candidate(candidate.values, candidate.channels, candidate.framing, kind) for kind in others]


def _usual(framing: Framing) -> Resize:
    return "halve-exact" if framing == "centred" else RESIZES[0]
