"""Small heads for the shipped trunk, by regularised least squares on drawn cells."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from edgeleuk.bundle.contents import Bundle
from edgeleuk.bundle.descent import Taught
from edgeleuk.bundle.golden import GoldenVectors
from edgeleuk.bundle.heads import HAND_CRAFTED, KernelHead
from edgeleuk.bundle.manifest import GOLDEN, INT8_TFLITE, KIND, REFERENCE, VALIDATION, KindContract
from edgeleuk.bundle.reading import decode_bundle
from edgeleuk.bundle.reference import Reference, encode_reference
from edgeleuk.bundle.writing import bundle_bytes, describe_members
from edgeleuk.classifier.classifier import bundle_rules, open_network
from edgeleuk.classifier.golden_answers import golden_anew
from edgeleuk.classifier.golden_cells import measure_golden
from edgeleuk.results.kinds import Kind
from edgeleuk.virtual.cells import single_cell
from edgeleuk_convert.teaching.rebuilding import TaughtHeads

if TYPE_CHECKING:
    import numpy.typing as npt

KINDS = (Kind.LYMPHOCYTE, Kind.NEUTROPHIL, Kind.MONOCYTE)
SEEDS = range(500, 512)


class DrawnCells(NamedTuple):
    """What the trunk and the hand-crafted features see in drawn cells."""

    values: npt.NDArray[np.float64]
    blast: npt.NDArray[np.bool_]


def drawn_cells(bundle: Bundle) -> DrawnCells:
    labels = [label for _ in SEEDS for label in ("blast", "normal")]
    crops = [single_cell(label, seed) for seed in SEEDS for label in ("blast", "normal")]
    contract = bundle.manifest.input
    empty = np.empty((0, *contract.shape), np.uint8)
    cells = measure_golden(GoldenVectors(tuple(crops), empty), contract, bundle_rules(bundle))
    with open_network(bundle.members, INT8_TFLITE, contract) as network:
        features = network.predict(cells.tensors).features
    assert features is not None
    assert cells.numbers is not None
    return DrawnCells(np.hstack([features, cells.numbers]), np.array(labels) == "blast")


def without_heads(bundle: Bundle) -> Bundle:
    """Return a bundle as it was before anybody taught it."""
    members = {name: bundle.members[name] for name in bundle.members.keys() - {KIND, REFERENCE}}
    manifest = msgspec.structs.replace(bundle.manifest, kind=None, descent=())
    plain = Bundle(bundle.path, bundle.sha256, manifest, members)
    members[GOLDEN] = golden_anew(bundle, members, bundle_rules(plain))
    manifest = msgspec.structs.replace(manifest, members=describe_members(members))
    return decode_bundle(bundle_bytes(manifest, members), Path("plain.edgeleuk"))


def fitted(
    values: npt.NDArray[np.float64], targets: npt.NDArray[np.float64], gamma: float = 1.0
) -> KernelHead:
    """Fit a head: `(kernel + ridge) weights = targets - their mean`."""
    mean, deviation = values.mean(axis=0), values.std(axis=0) + 1e-3
    vectors = ((values - mean) / deviation).astype(np.float16)
    rows = vectors.astype(np.float64)
    squares = ((rows[:, None] - rows) ** 2).mean(axis=2)
    bias = targets.mean(axis=0)
    weights = np.linalg.solve(np.exp(-gamma * squares) + 0.1 * np.eye(len(rows)), targets - bias)
    return KernelHead(
        mean.astype(np.float32),
        deviation.astype(np.float32),
        vectors,
        weights.astype(np.float32),
        bias.astype(np.float32),
        gamma,
    )


def blast_head(cells: DrawnCells) -> KernelHead:
    return fitted(cells.values, np.where(cells.blast, 1.0, -1.0)[:, None])


def kind_head(cells: DrawnCells) -> KernelHead:
    """Call the smaller half lymphocytes, larger ones neutrophils, the largest monocytes."""
    area = cells.values[:, -HAND_CRAFTED]
    order = np.argsort(np.argsort(area)) / len(area)
    return fitted(cells.values, np.eye(len(KINDS))[np.digitize(order, [0.5, 0.75])], gamma=0.1)


def kind_contract(cells: DrawnCells) -> KindContract:
    return KindContract(
        kinds=KINDS,
        sharpness=8.0,
        least=0.5,
        area_um2=(10.0, 500.0),
        distances=(5.0,) * len(KINDS),
        cells=len(cells.values),
        slides=len(SEEDS),
    )


def reference(cells: DrawnCells) -> Reference:
    labels = ["blast" if one else "normal" for one in cells.blast]
    groups = [index // 2 for index in range(len(labels))]
    return Reference.compact(
        cells.values, labels, ["drawn"] * len(labels), groups, {"drawn": "cells drawn by the project"}
    )


def taught_heads(bundle: Bundle, cells: DrawnCells, **changes: object) -> TaughtHeads:
    manifest = bundle.manifest
    output = msgspec.structs.replace(
        manifest.output, forest_weight=0.0, temperature=0.3, bias=0.0, threshold=0.5, abstain=(0.45, 0.55),
        conformal=None,
    )  # fmt: skip
    words: dict[str, object] = {
        "output": output,
        "envelope": manifest.envelope,
        "gate": manifest.gate,
        "statistics": None,
        "blast": blast_head(cells),
        "kind": kind_head(cells),
        "kind_contract": kind_contract(cells),
        "reference": encode_reference(reference(cells)),
        "validation": msgspec.json.decode(bundle.members[VALIDATION]),
        "subjects": ("lab-1", "lab-2"),
    }
    return TaughtHeads(**(words | changes))  # type: ignore[arg-type]


def taught(bundle: Bundle, **changes: object) -> Taught:
    words: dict[str, object] = {
        "parent_sha256": bundle.sha256,
        "parent_name": bundle.manifest.name,
        "laboratory": "lab",
        "labels_sha256": "ab" * 32,
        "cells": 2 * len(SEEDS),
        "slides": len(SEEDS),
        "at": "2026-11-29T12:00:00+00:00",
        "choice": "a new head",
        "heads": ("blast", "kind"),
    }
    return Taught(**(words | changes))  # type: ignore[arg-type]
