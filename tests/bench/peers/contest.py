"""Who is set beside whom: one row of the table each."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Of(str, Enum):
    """What a peer is given."""

    CELLS = "cells"
    FIELDS = "fields"


@dataclass(frozen=True, slots=True)
class Peer:
    """One way to have the work done.

    Attributes
    ----------
    key : str
    label : str
        As it stands in the table.
    of : Of
    opener : str
        ``module:function`` beside this file: opens it in a process of its own.
    packages : tuple of str
        Distributions whose versions tell what was measured.
    threads : str
        That it computes with.
    judged : bool
        Whether what it finds in fields is held against the truth.
    """

    key: str
    label: str
    of: Of
    opener: str
    packages: tuple[str, ...]
    threads: str = "1"
    judged: bool = True


PRODUCT, BARE, BARE_FLOAT = "product", "litert-int8", "litert-float32"
KERAS, ULTRALYTICS = "keras", "ultralytics"
PRODUCT_FIELDS, SKIMAGE = "product-fields", "skimage"

PEERS = (
    Peer(
        PRODUCT, "**edgeleuk**, int8 by LiteRT", Of.CELLS, "of_cells:product", ("edgeleuk",), "1 + next cell"
    ),
    Peer(
        "product-onnx",
        "**edgeleuk**, int8 by ONNX Runtime",
        Of.CELLS,
        "of_cells:product_onnx",
        ("edgeleuk",),
        "1 + next cell",
    ),
    Peer(BARE, "LiteRT loop, int8", Of.CELLS, "of_cells:litert_int8", ("ai-edge-litert",)),
    Peer("litert-crops", "the same from the crops", Of.CELLS, "of_cells:litert_crops", ("ai-edge-litert",)),
    Peer(BARE_FLOAT, "LiteRT loop, float32", Of.CELLS, "of_cells:litert_float32", ("ai-edge-litert",)),
    Peer("onnx-int8", "ONNX Runtime loop, int8", Of.CELLS, "of_cells:onnx_int8", ("onnxruntime",)),
    Peer(
        KERAS,
        "`keras.Model.predict`, one at a time",
        Of.CELLS,
        "of_cells:keras_one",
        ("keras", "tensorflow-cpu", "tensorflow"),
    ),
    Peer(
        "keras-batch",
        "`keras.Model.predict`, 32 at a time",
        Of.CELLS,
        "of_cells:keras_batch",
        ("keras", "tensorflow-cpu", "tensorflow"),
    ),
    Peer(
        ULTRALYTICS,
        "Ultralytics classify, ONNX",
        Of.CELLS,
        "of_cells:ultralytics_one",
        ("ultralytics", "torch", "onnxruntime"),
    ),
    Peer(
        "ultralytics-all",
        "the same as it comes",
        Of.CELLS,
        "of_cells:ultralytics_all",
        ("ultralytics", "torch", "onnxruntime"),
        "all cores",
    ),
    Peer(PRODUCT_FIELDS, "**edgeleuk** gate and `segment`", Of.FIELDS, "of_fields:product", ("edgeleuk",)),
    Peer(
        "product-unscaled",
        "the same, scale estimated in each field",
        Of.FIELDS,
        "of_fields:product_unscaled",
        ("edgeleuk",),
    ),
    Peer(SKIMAGE, "scikit-image", Of.FIELDS, "of_fields:skimage", ("scikit-image",)),
    Peer(
        "skimage-half",
        "the same on the field at half its size",
        Of.FIELDS,
        "of_fields:skimage_half",
        ("scikit-image",),
    ),
    Peer(
        "stardist",
        "StarDist, random weights: speed only",
        Of.FIELDS,
        "of_fields:stardist",
        ("stardist", "tensorflow-cpu", "tensorflow"),
        judged=False,
    ),
)
