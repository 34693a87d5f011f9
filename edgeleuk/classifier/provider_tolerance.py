"""By how much more than the runtimes of its bundle a provider may differ in the self-test."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from edgeleuk.bundle.golden import Tolerance
from edgeleuk.classifier.golden_answers import golden_answer

if TYPE_CHECKING:
    from edgeleuk.bundle.golden import GoldenAnswer
    from edgeleuk.classifier.decision import Rules
    from edgeleuk.classifier.golden_cells import GoldenCells

# Times the tolerances that are stored for int8: of a single number, and of the mean of all.
# OpenVINO needed 2.4 and 3.4, and has twice that. CUDA and TensorRT have as much: they were not measured, for
# want of a GPU.
OPENVINO = 5.0, 7.0
WIDER: dict[str, tuple[float, float]] = {"openvino": OPENVINO, "cuda": OPENVINO, "tensorrt": OPENVINO}


def widened(golden: GoldenAnswer, runtime: str, cells: GoldenCells, rules: Rules) -> GoldenAnswer:
    """Return a golden answer of int8 with what a runtime may differ by; as it is for those of the bundle.

    The probabilities stay, and those calls that no difference within the wider tolerances can change.
    """
    if runtime not in WIDER:
        return golden
    outputs, features = (
        Tolerance(stored.largest * WIDER[runtime][0], stored.mean * WIDER[runtime][1])
        for stored in (golden.outputs, golden.features)
    )
    if golden.probabilities is None:
        return replace(golden, outputs=outputs, features=features)
    wide = golden_answer(golden.answer, cells, rules, outputs, features)
    sure = tuple(stored if now else "" for stored, now in zip(golden.decisions, wide.decisions, strict=True))
    return replace(wide, probabilities=golden.probabilities, decisions=sure, kinds=golden.kinds)
