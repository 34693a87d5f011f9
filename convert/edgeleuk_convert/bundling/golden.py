"""Make the golden vectors of a bundle: draw cells, let every network answer, store what comes of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeleuk.bundle.golden import PLAIN, USUAL, GoldenAnswer, GoldenVectors, Tolerance, encode_golden
from edgeleuk.bundle.manifest import MODEL_FILES, SUPPORT
from edgeleuk.bundle.support_vectors import decode_support
from edgeleuk.classifier.classifier import open_network, with_pooling
from edgeleuk.classifier.decision import decide, evidence_of
from edgeleuk.classifier.golden_answers import golden_answer, made_with
from edgeleuk.classifier.golden_cells import measure_golden
from edgeleuk.frames import CellCrop
from edgeleuk.inference.litert import LiteRtRuntime
from edgeleuk.inference.pooled import PooledRuntime
from edgeleuk.results import Decision
from edgeleuk.virtual.cells import single_cell
from edgeleuk_convert.quantization.tflite import output_steps

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeleuk.bundle.manifest import InputContract
    from edgeleuk.bundle.support_vectors import SupportVectors
    from edgeleuk.classifier.decision import Rules
    from edgeleuk.classifier.golden_cells import GoldenCells
    from edgeleuk.inference import Answer

INT8_TFLITE = "model.int8.tflite"
# Cells to choose from, and how many are kept of those most clearly of each class.
CANDIDATES, KEPT = 160, 3
# Two more come from a finer and from a coarser camera than the network's scale: one exact halving and one
# bilinear step; enlarging.
FINER, COARSER = 2.7, 0.8
LEAST_PX_PER_UM, MOST_PX_PER_UM = 5.0, 40.0
_MARGIN_PX = 8
_DRAWS = 8
# Part of a step by which the mean of a hundred places and more may be off where each is off by one.
_POOLED = 0.1
# XNNPACK's int8 kernels gave the same bits on x86-64 and on two kinds of aarch64: one number in fifty may be
# off by a step. ONNX Runtime's residual additions round otherwise on aarch64 where a sum is within millionths
# of half a step: pooled features differ by 0.026 of a step on average. In steps: largest, mean.
USUAL_OUTPUTS, USUAL_FEATURES = Tolerance(1.5, 0.5), Tolerance(2.5, 0.02)
ONNX_FEATURES = Tolerance(2.5, 0.03)
# LiteRT without XNNPACK (and tflite-runtime 2.14) rounds otherwise, and not the same on both.
PLAIN_OUTPUTS, PLAIN_FEATURES = Tolerance(4.5, 2.5), Tolerance(12.0, 1.6)
FLOAT = Tolerance(1e-3, 1e-3)


class PlainLiteRt(LiteRtRuntime):
    """LiteRT as it is on a machine where XNNPACK is off."""

    def open_interpreter(self, model: bytes, threads: int) -> Any:
        """Build an interpreter without delegates."""
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        return Interpreter(
            model_content=model,
            num_threads=threads,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )


def make_golden(members: Mapping[str, bytes], contract: InputContract, rules: Rules) -> bytes:
    """Return ``golden.npz`` for the networks among a bundle's members.

    Parameters
    ----------
    members : mapping of str to bytes
        Networks, forest, statistics and labels, as they will be packed.
    contract : InputContract
    rules : Rules
        What the bundle judges cells by.

    Returns
    -------
    bytes
        The same for the same members and contracts.
    """
    rules = replace(rules, abstain="band")
    crops = _chosen(members, contract, rules)
    vectors = GoldenVectors(tuple(crops), np.empty((0, *contract.shape), np.uint8))
    cells = measure_golden(vectors, contract, rules)
    log_odds = None
    if rules.forest is not None and cells.numbers is not None:
        log_odds = rules.forest.log_odds(cells.numbers)
    networks = {
        name: _kernels(name, members, contract, cells, rules) for name in MODEL_FILES if name in members
    }
    return encode_golden(
        GoldenVectors(tuple(crops), cells.tensors, networks, log_odds, made_with(members, contract, rules))
    )


def _kernels(
    name: str, members: Mapping[str, bytes], contract: InputContract, cells: GoldenCells, rules: Rules
) -> dict[str, GoldenAnswer]:
    model = MODEL_FILES[name]
    with open_network(members, name, contract) as runtime:
        answer, is_map = runtime.predict(cells.tensors), isinstance(runtime, PooledRuntime)
    if model.precision == "float32":
        return {USUAL: golden_answer(answer, cells, rules, FLOAT, FLOAT)}
    # The ONNX network has steps of like size.
    steps = output_steps(members[INT8_TFLITE])
    if SUPPORT in members:
        support = decode_support(members[SUPPORT])
        steps = (_step_of_log_odds(support, answer, steps[0]), steps[0])
    elif is_map:
        # A head judges the pooled features, and the output is 0.
        steps = (0.0, steps[0])

    def kept(of: Answer, *tolerances: Tolerance) -> GoldenAnswer:
        outputs, features = (
            Tolerance(largest * step, mean * step)
            for (largest, mean), step in zip(tolerances, steps, strict=True)
        )
        return golden_answer(of, cells, rules, outputs, features)

    features = USUAL_FEATURES if model.runtime == "litert" else ONNX_FEATURES
    kernels = {USUAL: kept(answer, USUAL_OUTPUTS, features)}
    if model.runtime == "litert":
        with with_pooling(PlainLiteRt(members[name], contract), members, contract) as plain:
            kernels[PLAIN] = kept(plain.predict(cells.tensors), PLAIN_OUTPUTS, PLAIN_FEATURES)
    return kernels


def _step_of_log_odds(support: SupportVectors, answer: Answer, step: float) -> float:
    """Return by how much log odds move, at most, when a map moves by a step here and there."""
    assert answer.features is not None
    signs = np.random.default_rng(0).choice((-1, 1), (_DRAWS, *answer.features.shape))
    moved = [support.log_odds(answer.features + sign * np.float32(_POOLED * step)) for sign in signs]
    return float(np.abs(np.array(moved) - answer.outputs[:, 0]).max())


def _chosen(members: Mapping[str, bytes], contract: InputContract, rules: Rules) -> list[CellCrop]:
    """Draw cells, and take those that the network calls most clearly, of each class."""
    drawn = [single_cell(label, seed) for seed in range(CANDIDATES // 2) for label in ("blast", "normal")]
    cells = measure_golden(
        GoldenVectors(tuple(drawn), np.empty((0, *contract.shape), np.uint8)), contract, rules
    )
    with open_network(members, INT8_TFLITE, contract) as runtime:
        answer = runtime.predict(cells.tensors)
    seen = evidence_of(answer, cells.areas_um2, cells.looks, rules, cells.numbers)
    most: list[int] = []
    for call, sign in ((Decision.BLAST, 1), (Decision.NORMAL, -1)):
        order = sorted(
            set(range(len(drawn))) - set(most),
            key=lambda index: (decide(seen[index], rules).decision is call, sign * seen[index].probability),
            reverse=True,
        )
        most += order[:KEPT]
    other_scales = [
        single_cell(label, CANDIDATES, px_per_um=_within(factor * contract.px_per_um))
        for label, factor in (("blast", FINER), ("normal", COARSER))
    ]
    return [_tight(crop) for crop in (*(drawn[index] for index in most), *other_scales)]


def _within(px_per_um: float) -> float:
    return min(max(px_per_um, LEAST_PX_PER_UM), MOST_PX_PER_UM)


def _tight(crop: CellCrop) -> CellCrop:
    """Cut off most of the black around a cell: it is stored for nothing."""
    rows, columns = (np.flatnonzero(crop.mask.any(axis=axis)) for axis in (1, 0))
    top, left = (max(int(along[0]) - _MARGIN_PX, 0) for along in (rows, columns))
    pixels = crop.pixels[top : int(rows[-1]) + _MARGIN_PX, left : int(columns[-1]) + _MARGIN_PX]
    return CellCrop.on_black(np.ascontiguousarray(pixels), crop.px_per_um)
