"""int8 against float, cell by cell, on the device's own preprocessing and runtimes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from edgeleuk.bundle.manifest import MODEL_FILES
from edgeleuk.classifier.decision import doubt_of, evidence_of
from edgeleuk.results import OF_NETWORK, Check
from edgeleuk_convert.evaluation.evaluate import judge
from edgeleuk_convert.metrics.acceptance import (
    AcceptanceLimits,
    Held,
    few_findings,
    quantization_findings,
    settle,
)
from edgeleuk_convert.metrics.classification import Judged, interval_95, point_metrics
from edgeleuk_convert.metrics.paired import paired_facts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from edgeleuk.bundle.contracts import Answer
    from edgeleuk.classifier.decision import Rules
    from edgeleuk_convert.dataset.cells import LabelledCell
    from edgeleuk_convert.dataset.seen_cells import SeenCells

    Facts = dict[str, Any]

REFERENCE = "reference"
FLOAT_KEYS = frozenset(model.key for model in MODEL_FILES.values() if model.precision == "float32")


class Predicts(Protocol):
    """What is judged: a runtime of a network, or one whose features another head judges."""

    def predict(self, tensors: npt.NDArray[np.uint8]) -> Answer:
        """Answer on (n, H, W, C) uint8 tensors."""
        ...


@dataclass(frozen=True, slots=True)
class Answers:
    """What every network of a bundle said of the same cells.

    Attributes
    ----------
    judged : dict of str to Judged
        By the networks' keys (``reference``, ``tflite_int8``, ...).
    doubted : dict of str to Counter
        How many cells the device would call uncertain, by the first check that doubts them.
    files : tuple of str
        Of the cells, relative to their folder.
    threshold : float
        Probability at and above which a cell was called a blast.
    """

    judged: dict[str, Judged]
    doubted: dict[str, Counter[Check]]
    files: tuple[str, ...]
    threshold: float


def compare(
    models: Mapping[str, Predicts],
    rules: Rules,
    seen: SeenCells,
    *,
    limits: AcceptanceLimits | None = None,
    folder: Path | None = None,
    seed: int = 0,
) -> Facts:
    """Judge every network on the same held-out cells, and each int8 one against the float one.

    Parameters
    ----------
    models : mapping of key to Predicts
        With ``reference`` among them.
    rules : Rules
        What the device judges by.
    seen : SeenCells
        Held out, of both classes.
    limits : AcceptanceLimits, optional
    folder : Path, optional
        Above all cells: they are named relative to it.
    seed : int
        Of the bootstrap.

    Returns
    -------
    dict
        See `validation_facts`.
    """
    return validation_facts(judge_networks(models, rules, seen, folder=folder), limits=limits, seed=seed)


def judge_networks(
    models: Mapping[str, Predicts], rules: Rules, seen: SeenCells, *, folder: Path | None = None
) -> Answers:
    """Run every network on the same cells; parameters as for `compare`."""
    judged: dict[str, Judged] = {}
    doubted: dict[str, Counter[Check]] = {}
    for key, model in models.items():
        of_cells = evidence_of(model.predict(seen.tensors), seen.areas_um2, seen.looks, rules, seen.numbers)
        probabilities = np.array([evidence.probability for evidence in of_cells])
        judged[key] = judge(seen.cells, probabilities, rules.output.threshold)
        doubts = (doubt_of(evidence, rules) for evidence in of_cells)
        doubted[key] = Counter(doubt.check for doubt in doubts if doubt is not None)
    return Answers(judged, doubted, file_names(seen.cells, folder), rules.output.threshold)


def joined_answers(parts: Sequence[Answers], *, threshold: float) -> Answers:
    """Join what the same networks said of one set of cells and of others; `threshold` stands for all."""
    judged = {
        key: Judged(*(
            np.concatenate([getattr(part.judged[key], name) for part in parts])
            for name in Judged.__dataclass_fields__
        ))
        for key in parts[0].judged
    }  # fmt: skip
    doubted = {key: sum((part.doubted[key] for part in parts), Counter[Check]()) for key in judged}
    return Answers(judged, doubted, tuple(file for part in parts for file in part.files), threshold)


def validation_facts(answers: Answers, *, limits: AcceptanceLimits | None = None, seed: int = 0) -> Facts:
    """Hold every int8 network against the float one.

    Returns
    -------
    dict
        As ``edgeleuk validate --json`` prints it. For each network its metrics with intervals, and
        ``uncertain``, the share of cells that the device would call so, which ``uncertain_by_reason``
        divides by the first check that doubts a cell; the metrics are of all cells. For each int8 network
        (``models`` lists their keys) also what `paired_facts` returns. And what `settle` returns:
        ``verdict reasons images_needed limits``.
    """
    limits = limits or AcceptanceLimits()
    keys = [key for key in answers.judged if key not in FLOAT_KEYS]
    result: Facts = {"schema_version": 1, "models": keys, "threshold": answers.threshold}
    for key, judged in answers.judged.items():
        result[key] = network_facts(judged, answers.doubted[key], seed=seed)
    reference = answers.judged[REFERENCE]
    for key in keys:
        result[key] |= paired_facts(
            reference, answers.judged[key], answers.files, threshold=answers.threshold, seed=seed
        )
    findings = quantization_findings(
        {key: result[key] for key in keys}, limits, Held.of(reference.truth, reference.group)
    )
    return result | settle(findings, limits)


def not_validated(cells: Sequence[LabelledCell], limits: AcceptanceLimits) -> Facts:
    """Return what `validation_facts` says where a class is missing among the held-out cells."""
    truth = np.array([cell.label == "blast" for cell in cells], bool)
    group = np.array([cell.group or "" for cell in cells], str)
    return {"schema_version": 1, "models": []} | settle(few_findings(Held.of(truth, group)), limits)


def network_facts(judged: Judged, doubted: Counter[Check], *, seed: int = 0) -> Facts:
    """Return what one network is worth on its own."""
    n = len(judged.truth)
    return {
        "cells": n,
        "subjects": len(np.unique(judged.subject)),
        "groups": len(np.unique(judged.group)),
        **point_metrics(judged),
        "interval_95": {name: list(ends) for name, ends in interval_95(judged, seed=seed).items()},
        "uncertain": doubted.total() / n,
        "uncertain_by_reason": {check.value: doubted[check] / n for check in OF_NETWORK},
    }


def file_names(cells: Sequence[LabelledCell], folder: Path | None) -> tuple[str, ...]:
    """Name cells by their files, relative to the folder above them all."""
    return tuple(cell.path.relative_to(folder).as_posix() if folder else cell.path.name for cell in cells)
