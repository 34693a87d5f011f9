"""What ``inspect`` and ``verify`` print."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from edgeleuk.bundle.checking import decode_training
from edgeleuk.bundle.manifest import MODEL_FILES, TRAINING, Manifest
from edgeleuk.bundle.validation import read_validation
from edgeleuk.classifier.self_test import MOVED, NOT_INSTALLED
from edgeleuk.io.console import printable
from edgeleuk.results.structs import Printed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeleuk.bundle.contents import Bundle
    from edgeleuk.bundle.manifest import InputContract, OutputContract
    from edgeleuk.classifier.self_test import GoldenResult


class AcceptanceVerdict(Printed, frozen=True, kw_only=True):
    """What the validation said of a bundle when it was made."""

    verdict: str
    reasons: tuple[str, ...]


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
    """

    schema_version: int = 1
    path: str
    sha256: str
    size_bytes: int
    validation: AcceptanceVerdict
    stamp: str | None
    manifest: Manifest


class GoldenComparison(Printed, frozen=True, kw_only=True):
    """How far one network, or one step before it, is from the bundle's golden cells.

    Attributes
    ----------
    status : str
        ``ok``, ``moved``, or ``not installed``.
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
            f"int8      {_verdict_text(bundle)}",
            f"licence   {printable(manifest.licence)}",
            f"data      {printable(manifest.data_citation)}",
        ]
    )


def _verdict_text(bundle: Bundle) -> str:
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
