"""All of teaching but the reading of labels and the writing of the bundle: measure, choose, hold, fit."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np

from edgeleuk.classifier.classifier import bundle_rules
from edgeleuk.classifier.decision import calibrated, decide, evidence_of
from edgeleuk.counting.confusion import confusion_of
from edgeleuk.errors import DataRefusedError
from edgeleuk.results import Decision
from edgeleuk.results.kinds import LYMPHOID
from edgeleuk.results.structs import Printed
from edgeleuk_convert.evaluation.int8_vs_float import network_facts
from edgeleuk_convert.metrics.classification import Judged, auroc
from edgeleuk_convert.teaching.accepting import LEAST_CELLS, NOBODY, accept
from edgeleuk_convert.teaching.choices import AS_IT_IS, JOINED, choices_for
from edgeleuk_convert.teaching.curve import learning_curve
from edgeleuk_convert.teaching.final_calls import OfKinds, held_out_confusion
from edgeleuk_convert.teaching.fitting import (
    blast_contract,
    blast_gate,
    blast_head,
    kind_contract,
    recalibrated,
)
from edgeleuk_convert.teaching.tasks import (
    blast_task,
    kind_of,
    kind_task,
    known_of_blasts,
    known_of_kinds,
)
from edgeleuk_convert.teaching.validating import validate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from edgeleuk.bundle.contents import Bundle
    from edgeleuk.bundle.manifest import KindContract
    from edgeleuk.bundle.reference import Reference
    from edgeleuk.classifier.decision import CellEvidence, Rules
    from edgeleuk.results import Prediction
    from edgeleuk_convert.teaching.choices import Task
    from edgeleuk_convert.teaching.kernels import Floats
    from edgeleuk_convert.teaching.measuring import MeasuredCells
    from edgeleuk_convert.teaching.tasks import TaskRows
    from edgeleuk_convert.teaching.validating import Measured, Validated

    Calls = npt.NDArray[np.int64]

Head = Literal["kind", "blast"]
# A lymphoid cell that was called another kind: not a guess, but wrong.
WRONG = -2


class Figure(Printed, frozen=True, kw_only=True):
    """A figure with its 95 % interval, by draws of slides and of cells within them."""

    value: float
    low: float
    high: float


class LabelledClass(Printed, frozen=True, kw_only=True):
    """How many cells of how many slides were labelled so, and how many of them are called right."""

    cells: int
    slides: int
    right: int


class CurveEntry(Printed, frozen=True, kw_only=True):
    """Balanced accuracy with so many labels."""

    labels: int
    balanced_accuracy: float


class HeadResult(Printed, frozen=True, kw_only=True):
    """What teaching one head came to; all figures are of slides that had not taught it.

    Attributes
    ----------
    head : str
        ``kind`` or ``blast``.
    choice : str
        The way that was taken.
    before, after, gain : Figure
        Balanced accuracy; a cell that was not called counts as a guess.
    auroc_before, auroc_after : float or None
        Of blasts.
    losses : dict of str to float
        Balanced log loss of each way that was tried.
    confusion : dict of str to dict of str to int
        Label to what its cells are called.
    weakest : str
        The class of which more labels would help most.
    worth_of_50_more : float or None
        What 50 labels more may add to the balanced accuracy.
    reasons : tuple of str
        Why the head is refused; empty where it is not.
    """

    head: Head
    choice: str
    cells: int
    slides: int
    classes: dict[str, LabelledClass]
    before: Figure
    after: Figure
    gain: Figure
    auroc_before: float | None
    auroc_after: float | None
    losses: dict[str, float]
    confusion: dict[str, dict[str, int]]
    curve: tuple[CurveEntry, ...]
    weakest: str
    worth_of_50_more: float | None
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Teaching:
    """What the labels made of a bundle's judgement.

    Attributes
    ----------
    results : tuple of HeadResult
    before, rules : Rules
        What the bundle judged cells by, and what the taught one does.
    subjects : tuple of str
        Those that taught.
    facts : dict
        What its ``validation.json`` gets beside what is there.
    """

    results: tuple[HeadResult, ...]
    before: Rules
    rules: Rules
    facts: dict[str, Any]
    subjects: tuple[str, ...]

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it is refused; empty where it is not."""
        return tuple(f"{of.head}: {reason}" for of in self.results for reason in of.reasons)


def teach_heads(
    bundle: Bundle,
    cells: MeasuredCells,
    reference: Reference | None,
    *,
    seed: int = 0,
    progress: Callable[[str], None],
) -> Teaching:
    """Teach a bundle's heads by measured cells.

    Parameters
    ----------
    bundle : Bundle
    cells : MeasuredCells
    reference : Reference or None
    seed : int
        Of parts and draws.
    progress : callable
        Told what begins.

    Raises
    ------
    DataRefusedError
        The labels tell nothing apart: all are of one class.
    """
    rules = before = bundle_rules(bundle)
    evidence = evidence_of(cells.answer, cells.areas_um2.tolist(), cells.looks, rules, list(cells.numbers))
    predictions = [decide(one, rules) for one in evidence]
    results: list[HeadResult] = []
    facts: dict[str, Any] = {}
    of_kinds, blasts = None, np.full(len(cells.label), np.nan)
    asked = blast_task(cells)
    kinds = {kind_of(label) for label in cells.label}
    several_kinds = len(kinds - LYMPHOID) + bool(kinds & LYMPHOID) > 1
    if asked is None and not several_kinds:
        raise DataRefusedError(
            "the labels tell nothing apart",
            got=f"{len(cells.label)} cells, all {cells.label[0]}",
            allowed="two kinds of cells or more, or blast and normal",
            cure="label cells of another class as well",
        )
    if several_kinds:
        progress("kinds")
        task = kind_task(cells, () if rules.kind is None else rules.kind.kinds)
        known = known_of_kinds(task, rules, rules.kind, reference)
        sharpness = 8.0 if rules.kind is None else rules.kind.sharpness
        found = validate(task, choices_for(task, known, sharpness), seed=seed)
        calls = [NOBODY if said.kind is None else task.classes.index(said.kind.value) for said in predictions]
        result = _result("kind", task, found, np.array(calls), seed)
        contract = kind_contract(task, found, cells.areas_um2, rules.kind)
        rules = replace(rules, kind=contract, kind_head=found.choice.make.head(task, found.choice.ridge))
        facts["kinds"] = _kind_facts(result)
        results.append(result)
        of_kinds = OfKinds(task, found)
    elif rules.kind is not None and reference is not None:
        rules, of_kinds = _shown_lymphoid(rules, rules.kind, cells, reference, seed)
    if asked is not None:
        progress("blasts")
        rules, result, of_blasts, blasts[asked.rows] = _blasts(
            rules, cells, asked, evidence, predictions, reference, seed
        )
        results.append(result)
        facts |= of_blasts
    facts["confusion"] = held_out_confusion(cells, rules, of_kinds, blasts)
    return Teaching(tuple(results), before, rules, facts, tuple(sorted(set(cells.subject.tolist()))))


def _shown_lymphoid(
    rules: Rules, contract: KindContract, cells: MeasuredCells, reference: Reference, seed: int
) -> tuple[Rules, OfKinds | None]:
    """Show the head for kinds the laboratory's lymphoid cells, beside the reference: no other was labelled.

    Else cells of another stain might be given another kind, and would never be asked for blasts.
    """
    task = kind_task(cells, contract.kinds)
    choices = choices_for(task, known_of_kinds(task, rules, contract, reference), contract.sharpness)
    joined = [choice for choice in choices if choice.name.startswith(JOINED)]
    if not joined:
        return rules, None
    # Cells of one kind tell nothing of how sure to be: that stays as it was.
    found = validate(task, [replace(joined[-1], sharpness=contract.sharpness)], seed=seed)
    shown = kind_contract(task, found, cells.areas_um2, contract)
    shown = msgspec.structs.replace(shown, least=contract.least)
    rules = replace(rules, kind=shown, kind_head=found.choice.make.head(task, found.choice.ridge))
    return rules, OfKinds(task, found)


def _blasts(
    rules: Rules,
    cells: MeasuredCells,
    asked: TaskRows,
    evidence: Sequence[CellEvidence],
    predictions: Sequence[Prediction],
    reference: Reference | None,
    seed: int,
) -> tuple[Rules, HeadResult, dict[str, Any], Floats]:
    task, rows = asked
    before = np.array([one.probability for one in evidence])[rows]
    found = validate(task, choices_for(task, known_of_blasts(task, before, reference), 1.0), seed=seed)
    said = [prediction for prediction, kept in zip(predictions, rows, strict=True) if kept]
    result = _result("blast", task, found, np.array([_CALLS[one.decision] for one in said]), seed)
    result = msgspec.structs.replace(
        result,
        auroc_before=auroc(task.truth == 1, before),
        auroc_after=auroc(task.truth == 1, found.nested[:, 1]),
    )
    probability = found.nested[:, 1]
    if found.choice.name != AS_IT_IS:
        contract = blast_contract(task, found)
        # The threshold is one of calibrated probabilities.
        odds = np.clip(probability, 1e-9, 1 - 1e-9)
        probability = calibrated(np.log(odds / (1 - odds)), contract)
        head = blast_head(task, found)
        if head is None:
            rules = replace(rules, output=recalibrated(rules.output, contract, found.sharpness))
        else:
            # At once: an output that a forest has a weight in is nothing without one.
            rules = replace(rules, output=contract, blast_head=head, forest=None)
    if rows.sum() >= LEAST_CELLS:
        envelope, gate, statistics = blast_gate(cells.of(rows), seed)
        rules = replace(rules, envelope=envelope, gate=gate, statistics=statistics)
    facts = _blast_facts(task, probability, rules, cells.areas_um2[rows], cells.subject[rows])
    return rules, result, facts, probability


_CALLS = {Decision.BLAST: 1, Decision.NORMAL: 0, Decision.UNCERTAIN: NOBODY, Decision.OTHER: WRONG}


def _result(head: Head, task: Task, found: Validated, before: Calls, seed: int) -> HeadResult:
    held = accept(task, before, found.nested, seed=seed)
    curve = learning_curve(task, found, seed=seed)
    called = found.nested.argmax(axis=1)
    classes, confusion = {}, {}
    for number in np.unique(task.truth).tolist():
        rows, name = task.truth == number, task.classes[number]
        classes[name] = LabelledClass(
            cells=int(rows.sum()),
            slides=len(np.unique(task.slide[rows])),
            right=int((called[rows] == number).sum()),
        )
        calls = Counter(task.classes[call] for call in called[rows])
        confusion[name] = {other: calls[other] for other in task.classes if calls[other]}
    choice, ridge = found.choice.name, found.choice.ridge
    return HeadResult(
        head=head,
        choice=choice if ridge is None else f"{choice}, ridge {ridge:g}",
        cells=len(task.truth),
        slides=len(np.unique(task.slide)),
        classes=classes,
        before=_figure(held.before),
        after=_figure(held.after),
        gain=_figure(held.gain),
        auroc_before=None,
        auroc_after=None,
        losses={name: round(loss, 4) for name, loss in found.losses.items()},
        confusion=confusion,
        curve=tuple(
            CurveEntry(labels=point.labels, balanced_accuracy=point.balanced_accuracy)
            for point in curve.points
        ),
        weakest=curve.weakest,
        worth_of_50_more=curve.worth,
        reasons=held.reasons,
    )


def _figure(of: Measured) -> Figure:
    return Figure(value=of.value, low=of.low, high=of.high)


def _kind_facts(result: HeadResult) -> dict[str, Any]:
    return {
        "cells": result.cells,
        "slides": result.slides,
        "balanced_accuracy": msgspec.to_builtins(result.after),
        "confusion": result.confusion,
    }


def _blast_facts(
    task: Task, probability: Floats, rules: Rules, areas_um2: Floats, subject: npt.NDArray[np.str_]
) -> dict[str, Any]:
    """Return what validation says of blasts, as for the networks of a conversion."""
    threshold = rules.output.threshold
    judged = Judged(task.truth == 1, probability, probability >= threshold, areas_um2, subject, task.slide)
    of_network = network_facts(judged, Counter())
    del of_network["uncertain"], of_network["uncertain_by_reason"]
    # The heads are the same for all; the trunk of another runtime was not measured.
    networks = dict.fromkeys(("tflite_int8", "onnx_int8", "reference"), of_network)
    return {"threshold": threshold, **networks}


def teaching_text(results: Sequence[HeadResult]) -> list[str]:
    """Say for people what the labels made of the heads."""
    lines = []
    for of in results:
        counts = ", ".join(f"{name} {one.cells} ({one.slides} slides)" for name, one in of.classes.items())
        lines += [
            f"{of.head} head: {of.cells} cells of {of.slides} slides: {counts}",
            f"  taken     {of.choice}",
            f"  before    balanced accuracy {_said(of.before)}; a cell that is not called counts as a guess",
            f"  after     balanced accuracy {_said(of.after)}, on slides that had not taught it",
            f"  gain      {of.gain.value:+.3f} ({of.gain.low:+.3f} to {of.gain.high:+.3f})",
        ]
        if of.auroc_before is not None and of.auroc_after is not None:
            lines.append(f"  AUROC     {of.auroc_before:.3f} before, {of.auroc_after:.3f} after")
        lines.append(
            "  labels    "
            + ", ".join(f"{point.balanced_accuracy:.3f} with {point.labels}" for point in of.curve)
        )
        if of.worth_of_50_more is not None:
            lines.append(
                f"            50 more are worth about {of.worth_of_50_more:.2f}; {of.weakest} is called right"
                " least often"
            )
        lines += [f"  refused   {reason}" for reason in of.reasons]
    return lines


def card_notes(teaching: Teaching) -> list[str]:
    """Say the same for a card, and what the calls of held-out cells came to."""
    notes = teaching_text(teaching.results)
    blasts = teaching.facts.get("tflite_int8")
    if blasts is not None:
        rates = []
        for name in ("sensitivity", "specificity"):
            low, high = blasts["interval_95"].get(name) or (math.nan, math.nan)
            rates.append(f"{name} {blasts[name]:.3f} ({low:.3f} to {high:.3f})")
        notes.append(
            f"blasts: {', '.join(rates)} at the threshold {teaching.facts['threshold']:g}, of"
            f" {blasts['cells']} cells in {blasts['groups']} groups"
        )
    known = confusion_of(teaching.facts["confusion"])
    if isinstance(known, str):
        return [*notes, f"confusions of kinds: {known}"]
    for kind, row, effective in zip(known.kinds, known.counts, known.effective, strict=True):
        called = ", ".join(f"{count:g} {name}" for name, count in zip(known.kinds, row, strict=True) if count)
        notes.append(f"{kind} cells that were called: {called}; known as from {effective:.0f} cells")
    return notes


def _said(figure: Figure) -> str:
    return f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f})"
