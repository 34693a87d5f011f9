"""What ``inspect`` and ``verify`` print."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np

from edgeleuk.bundle.checking import decode_training
from edgeleuk.bundle.heads import decode_head
from edgeleuk.bundle.manifest import BLAST, KIND, MODEL_FILES, REFERENCE, TRAINING, Manifest
from edgeleuk.bundle.reference import decode_reference
from edgeleuk.bundle.trusted import signature_facts
from edgeleuk.bundle.validation import read_validation
from edgeleuk.classifier.self_test import MOVED, NOT_INSTALLED
from edgeleuk.io.console import printable
from edgeleuk.results.structs import Printed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeleuk.bundle.contents import Bundle
    from edgeleuk.bundle.manifest import InputContract, OutputContract
    from edgeleuk.classifier.self_test import GoldenResult

# Of a line of descent, that are drawn each to the right of its parent.
_MOST_STEPS = 10


class AcceptanceVerdict(Printed, frozen=True, kw_only=True):
    """What the validation said of a bundle when it was made."""

    verdict: str
    reasons: tuple[str, ...]


class HeadDescription(Printed, frozen=True, kw_only=True):
    """One head on the trunk's features.

    Attributes
    ----------
    name : str
        ``blast`` or ``kind``.
    answers : tuple of str
        What it tells apart.
    vectors : int
        Cells that it holds.
    parameters : int
        Numbers that it holds.
    features : int
        Of the trunk, that it judges beside the hand-crafted ones.
    cells, slides : int or None
        That taught it; None where nobody wrote that down.
    """

    name: str
    answers: tuple[str, ...]
    vectors: int
    parameters: int
    features: int
    cells: int | None
    slides: int | None


class ReferenceDescription(Printed, frozen=True, kw_only=True):
    """The cells that a bundle carries for teaching.

    Attributes
    ----------
    cells, groups : int
    labels : dict of str to int
        Cells of each label.
    citations : dict of str to str
        By source.
    """

    cells: int
    groups: int
    labels: dict[str, int]
    citations: dict[str, str]


class SignatureDescription(Printed, frozen=True, kw_only=True):
    """Who signed a bundle.

    Attributes
    ----------
    state : str
        ``installation``, ``unsigned``, ``signed`` by a pinned key, ``not pinned``, or ``wrong``; see
        `edgeleuk.bundle.trusted.SignatureFacts`.
    key, key_id : str or None
        Name of the pinned key that signed it, and what the signature says of its key.
    series, sequence
        What the bundle is a version of, and a number that rises; None unless a pinned key signed them.
    error : str or None
        Why the signature is wrong.
    """

    state: str
    key: str | None
    key_id: str | None
    series: str | None
    sequence: int | None
    error: str | None


class BundleDescription(Printed, frozen=True, kw_only=True):
    """What ``edgeleuk inspect --json`` prints.

    Attributes
    ----------
    path, sha256, size_bytes
        Of the file.
    validation : AcceptanceVerdict
    stamp : str or None
        What the training record was stamped with: that test cells leaked.
    manifest : Manifest
    heads : tuple of HeadDescription
    reference : ReferenceDescription or None
    signature : SignatureDescription or None
    """

    schema_version: int = 1
    path: str
    sha256: str
    size_bytes: int
    validation: AcceptanceVerdict
    stamp: str | None
    manifest: Manifest
    heads: tuple[HeadDescription, ...] = ()
    reference: ReferenceDescription | None = None
    signature: SignatureDescription | None = None


class GoldenComparison(Printed, frozen=True, kw_only=True):
    """How far one network, or one step before it, is from the bundle's golden cells.

    Attributes
    ----------
    status : str
        ``ok``, ``moved``, ``not installed``, or ``unusable``: not by this runtime, on this machine.
    largest_difference : float or None
        None in JSON where the shapes differ.
    """

    model: str
    runtime: str
    status: str
    largest_difference: float | None
    tolerance: float
    detail: str


class BundleVerification(Printed, frozen=True, kw_only=True):
    """What ``edgeleuk verify BUNDLE --json`` prints."""

    schema_version: int = 1
    path: str
    sha256: str
    verdict: Literal["pass", "fail"]
    results: list[GoldenComparison]


def bundle_facts(bundle: Bundle) -> BundleDescription:
    """Return the manifest with the file's own hash and size, and what the validation said of it."""
    said = read_validation(bundle)
    return BundleDescription(
        path=str(bundle.path),
        sha256=bundle.sha256,
        size_bytes=bundle.path.stat().st_size,
        validation=AcceptanceVerdict(verdict=said.verdict, reasons=tuple(said.reasons)),
        stamp=training_stamp(bundle),
        manifest=bundle.manifest,
        heads=head_descriptions(bundle),
        reference=_reference_description(bundle),
        signature=_signature_description(bundle),
    )


def _signature_description(bundle: Bundle) -> SignatureDescription:
    found = signature_facts(bundle.path)
    return SignatureDescription(
        state=found.state,
        key=None if found.key is None else found.key.name,
        key_id=found.key_id,
        series=None if found.claim is None else found.claim.series,
        sequence=None if found.claim is None else found.claim.sequence,
        error=None if found.error is None else str(found.error),
    )


def _signature_text(bundle: Bundle) -> str:
    found = _signature_description(bundle)
    if found.state == "installation":
        return "none: it is a part of edgeleuk, and trusted as edgeleuk is"
    if found.state == "not pinned":
        return f"by key {found.key_id}, which is not pinned here and proves nothing"
    if found.state == "wrong":
        return f"WRONG: {printable(str(found.error))}"
    if found.state == "unsigned":
        return "unsigned"
    series = "no series" if found.series is None else f"series {printable(found.series)}"
    sequence = "no sequence" if found.sequence is None else f"sequence {found.sequence}"
    return f"by {printable(str(found.key))}, key {found.key_id}, {series}, {sequence}"


def head_descriptions(bundle: Bundle) -> tuple[HeadDescription, ...]:
    """Tell of each head what it tells apart and what taught it.

    Raises
    ------
    BundleError
        A head is damaged.
    """
    manifest, described = bundle.manifest, []
    answers = {BLAST: manifest.output.labels, KIND: ()}
    # Of whoever taught a head last.
    of_taught = {head: (step.cells, step.slides) for step in manifest.descent for head in step.heads}
    if manifest.kind is not None:
        answers[KIND] = tuple(kind.value for kind in manifest.kind.kinds)
        of_taught["kind"] = manifest.kind.cells, manifest.kind.slides
    for member, told_apart in answers.items():
        if member in bundle.members:
            head, name = decode_head(bundle.members[member], member), member.removesuffix(".npz")
            cells, slides = of_taught.get(name, (None, None))
            described.append(
                HeadDescription(
                    name=name,
                    answers=told_apart,
                    vectors=len(head.vectors),
                    parameters=head.parameters,
                    features=head.features,
                    cells=cells,
                    slides=slides,
                )
            )
    return tuple(described)


def _reference_description(bundle: Bundle) -> ReferenceDescription | None:
    if REFERENCE not in bundle.members:
        return None
    found = decode_reference(bundle.members[REFERENCE])
    counts = np.bincount(found.labels, minlength=len(found.label_texts)).tolist()
    return ReferenceDescription(
        cells=len(found.features),
        groups=len(np.unique(found.groups)),
        labels=dict(zip(found.label_texts, counts, strict=True)),
        citations=dict(zip(found.source_texts, found.citations, strict=True)),
    )


def training_stamp(bundle: Bundle) -> str | None:
    """Return what the training record was stamped with: that test cells leaked; None where they did not.

    Raises
    ------
    BundleError
        The record is damaged.
    """
    stamp = decode_training(bundle.members[TRAINING], bundle.path.name).stamp
    return None if stamp is None else stamp.replace("LEAKAGE ALLOWED:", "LEAKAGE ALLOWED IN TRAINING:", 1)


def facts_text(bundle: Bundle) -> str:
    """Say the same for people."""
    manifest = bundle.manifest
    contract, output, low_high = manifest.input, manifest.output, manifest.envelope.area_um2
    provenance = manifest.provenance
    networks = [
        f"  {name}  {MODEL_FILES[name].precision} for {MODEL_FILES[name].runtime},"
        f" {manifest.members[name].size_bytes / 1000:,.0f} kB"
        for name in manifest.model_names
    ]
    conformal = output.conformal
    abstain = (
        f"uncertain between {output.abstain[0]:.2f} and {output.abstain[1]:.2f}"
        if output.abstain[0] < output.abstain[1]
        else "no abstention band"
    )
    if conformal is not None:
        abstain += f", conformal sets at {1 - conformal.alpha:.0%}"
    colours = "normalised within the cell" if contract.normalise else "colours as they are"
    return "\n".join(
        [
            f"{printable(manifest.name)}  {bundle.path.stat().st_size / 1e6:.2f} MB,"
            f" sha256 {bundle.sha256[:16]}",
            *(printable(stamp) for stamp in (training_stamp(bundle),) if stamp),
            printable(manifest.intended_use),
            "",
            f"network   {printable(provenance.architecture)}, {provenance.parameters:,} parameters, "
            + (
                f"trained on {len(provenance.training_subjects)} subjects"
                if provenance.training_known
                else "trained on subjects that nobody named"
            ),
            *networks,
            f"input     {contract.height}x{contract.width}, {' + '.join(contract.channels)},"
            f" {colours}, {contract.px_per_um:g} px/um{_framing_text(contract)}",
            f"output    {output.kind}, positive is {printable(output.positive_label)},"
            f" temperature {output.temperature:.3f}, bias {output.bias:.3f},"
            f" {_forest_text(output)}threshold {output.threshold:.3f}, {abstain}",
            f"envelope  cells of {low_high[0]:.0f} to {low_high[1]:.0f} um2",
            f"gate      {_out_of_distribution_text(manifest)}",
            *_heads_text(bundle),
            *_descent_text(bundle),
            f"int8      {verdict_text(bundle)}",
            f"signature {_signature_text(bundle)}",
            f"licence   {printable(manifest.licence)}",
            f"data      {printable(manifest.data_citation)}",
        ]
    )


def head_lines(bundle: Bundle) -> list[str]:
    """Say in a line of each head what it tells apart and what taught it."""
    lines = []
    for head in head_descriptions(bundle):
        taught = "" if head.cells is None else f", taught by {head.cells} cells of {head.slides} slides"
        answers = ", ".join(map(printable, head.answers))
        lines.append(f"{head.name}: {answers}; {head.vectors} vectors{taught}")
    return lines


def _heads_text(bundle: Bundle) -> list[str]:
    lines = [f"head      {line}" for line in head_lines(bundle)]
    if (reference := _reference_description(bundle)) is not None:
        labels = ", ".join(f"{count} {printable(label)}" for label, count in reference.labels.items())
        lines.append(f"carries   {reference.cells} cells for teaching: {labels}")
    return lines


def _descent_text(bundle: Bundle) -> list[str]:
    """Draw the line of descent, the oldest first, each below its parent."""
    lines = descent_lines(bundle)
    # A long line of descent is not to run out of the terminal.
    indents = (" " * (10 + 3 * min(depth, _MOST_STEPS)) + "-> " for depth in range(len(lines)))
    return [
        *(f"descent   {line}" for line in lines[:1]),
        *(indent + line for indent, line in zip(indents, lines[1:], strict=False)),
    ]


def descent_lines(bundle: Bundle) -> list[str]:
    """Say in a line of each step of the line of descent how it came about, the oldest first."""
    descent = bundle.manifest.descent
    if not descent:
        return []
    names = [*(step.parent_name for step in descent[1:]), bundle.manifest.name]
    lines = [f"{printable(descent[0].parent_name)}  sha256 {descent[0].parent_sha256[:16]}"]
    for step, name in zip(descent, names, strict=True):
        facts = [
            f"taught by {printable(step.laboratory)}",
            f"{step.cells} cells of {step.slides} slides (labels {step.labels_sha256[:16]})",
            printable(step.choice),
            *([printable(step.at)] if step.at else []),
            *(["FORCED: not shown to be better than its parent"] if step.forced else []),
        ]
        lines.append(f"{printable(name)}  {', '.join(facts)}")
    return lines


def verdict_text(bundle: Bundle) -> str:
    """Say what the validation said of int8."""
    said = read_validation(bundle)
    words = {
        "pass": "keeps to the limits of its gate",
        "undecided": "is not shown to keep to the limits of its gate",
        "fail": "REJECTED by its gate: no device runs it",
    }[said.verdict]
    return words + (f" ({printable('; '.join(said.reasons))})" if said.reasons else "")


def _forest_text(output: OutputContract) -> str:
    return f"forest's weight {output.forest_weight:.3f}, " if output.forest_weight else ""


def _out_of_distribution_text(manifest: Manifest) -> str:
    gate = manifest.gate
    if gate is None:
        return "none beside the envelope"
    ranges = msgspec.structs.asdict(gate.appearance)
    said = [f"{name.replace('_', ' ')} {low:.2f} to {high:.2f}" for name, (low, high) in ranges.items()]
    if gate.features is not None:
        said.append(f"features within {gate.features.limit:.2f} of {gate.features.cells} training cells")
    return ", ".join(said)


def replay_facts(bundle: Bundle, results: Sequence[GoldenResult]) -> BundleVerification:
    """Return the outcome of a replay."""
    return BundleVerification(
        path=str(bundle.path),
        sha256=bundle.sha256,
        verdict="fail" if any(result.status == MOVED for result in results) else "pass",
        results=[
            GoldenComparison(
                model=result.model,
                runtime=result.runtime,
                status=result.status,
                largest_difference=result.largest_difference,
                tolerance=result.tolerance,
                detail=result.detail,
            )
            for result in results
        ],
    )


def replay_text(bundle: Bundle, results: Sequence[GoldenResult]) -> str:
    """Say the same for people."""
    lines = [f"{printable(bundle.path.name)}: {len(bundle.members)} members, every hash is right"]
    for result in results:
        figures = (
            ""
            if result.status == NOT_INSTALLED or result.model == "contract"
            else f"  largest difference {result.largest_difference:.4g}, allowed {result.tolerance:.4g}"
        )
        detail = f"  ({printable(result.detail)})" if result.detail else ""
        lines.append(f"  {result.status:<13} {result.model} on {result.runtime}{figures}{detail}")
    return "\n".join(lines)


def _framing_text(contract: InputContract) -> str:
    """Say how a picture is framed where that is not the usual way."""
    if contract.framing == "centred":
        return ""
    what = (
        "the cell's box"
        if contract.picture_px is None
        else "whole pictures of {}x{} px".format(*contract.picture_px)
    )
    return f", {what} resized ({contract.resize}), surroundings {contract.surroundings}"
