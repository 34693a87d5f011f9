"""May one bundle take the place of another: both as the device runs them, on cells new to both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from edgeleuk.bundle.validation import read_validation
from edgeleuk.classifier.classifier import bundle_rules, open_networks
from edgeleuk.errors import DataRefusedError, UsageError
from edgeleuk_convert.dataset.cnmc import require_both_classes
from edgeleuk_convert.dataset.leakage import with_training_stamp
from edgeleuk_convert.dataset.seen_cells import see_cells
from edgeleuk_convert.evaluation.evaluate import unseen
from edgeleuk_convert.evaluation.int8_vs_float import FLOAT_KEYS, judge_networks, network_facts
from edgeleuk_convert.metrics.acceptance import Finding, Held, drop_findings, few_findings, settle
from edgeleuk_convert.metrics.paired import paired_facts
from edgeleuk_convert.training.record import bundle_record

if TYPE_CHECKING:
    from edgeleuk.bundle.contents import Bundle
    from edgeleuk.bundle.manifest import Manifest, OutOfDistribution
    from edgeleuk.io.console import Progress
    from edgeleuk_convert.dataset.cells import CellSet, LabelledCell
    from edgeleuk_convert.evaluation.int8_vs_float import Answers
    from edgeleuk_convert.metrics.acceptance import AcceptanceLimits

    Facts = dict[str, Any]

A_AND_B = ("a", "b")
ANSWERS = {"pass": "B may replace A", "fail": "B is worse", "undecided": "undecided"}


def compare_bundles(
    a: Bundle,
    b: Bundle,
    data: CellSet,
    limits: AcceptanceLimits,
    *,
    threads: int = 1,
    seed: int = 0,
    progress: Progress | None = None,
) -> Facts:
    """Judge the int8 networks of two bundles, each by its own contracts, on the same held-out cells.

    Parameters
    ----------
    a, b : Bundle
        In use, and to replace it.
    data : CellSet
        What either has seen in training is left out.
    limits : AcceptanceLimits
        Those of the drops; two networks may well decide otherwise on single cells.
    threads, seed : int
        Of the networks; of the bootstrap.
    progress : callable, optional
        Told (cells done, cells in all), once for each input contract.

    Returns
    -------
    dict
        As ``edgeleuk compare --json`` prints it: for each int8 network that both have (``models`` lists their
        keys) the metrics of each under ``a`` and ``b``, ``agreement``, and what `paired_facts` returns from A
        to B; ``differences`` of the contracts in words; what `settle` returns; and ``answer``.

    Raises
    ------
    DataRefusedError
        No cell is new to both, or one class alone.
    UsageError
        The bundles tell different classes apart, or have no int8 network in common.
    """
    if a.manifest.output.labels != b.manifest.output.labels:
        raise UsageError(
            "the bundles tell different classes apart",
            got=" and ".join("/".join(one.manifest.output.labels) for one in (a, b)),
            allowed="the same negative and positive class",
        )
    fresh = held_out_for_both(a, b, data)
    seen = see_cells(fresh, a.manifest.input, progress=progress)
    of_a = _answers(a, seen, data, threads)
    if b.manifest.input != a.manifest.input:
        seen = see_cells(fresh, b.manifest.input, progress=progress)
    of_b = _answers(b, seen, data, threads)
    keys = [key for key in of_a.judged if key in of_b.judged]
    if not keys:
        raise UsageError("the bundles have no int8 network for the same runtime")
    first = of_a.judged[keys[0]]
    held = Held.of(first.truth, first.group)
    result: Facts = {
        "schema_version": 1,
        "a": _named(a),
        "b": _named(b),
        "cells": len(fresh),
        "subjects": len({cell.subject for cell in fresh}),
        "groups": len({cell.group for cell in fresh}),
        "models": keys,
        "differences": contract_differences(a.manifest, b.manifest),
    }
    findings = few_findings(held) + _rejection(b)
    for key in keys:
        result[key] = _pair_facts(key, of_a, of_b, seed=seed)
        findings += drop_findings(key, result[key], limits, held)
    settled = settle(findings, limits)
    return result | settled | {"answer": answer(settled)}


def _rejection(bundle: Bundle) -> list[Finding]:
    """Return a finding where the bundle to come was rejected when it was made."""
    said = read_validation(bundle)
    if said.verdict != "fail":
        return []
    reasons = "; ".join(said.reasons) or "no reasons given"
    return [Finding(True, f"B was rejected when it was made: {reasons}")]


def _pair_facts(key: str, of_a: Answers, of_b: Answers, *, seed: int) -> Facts:
    """Set one int8 network of A beside that of B: each alone, and what changes."""
    pair = paired_facts(
        of_a.judged[key],
        of_b.judged[key],
        of_a.files,
        threshold=of_a.threshold,
        names=A_AND_B,
        seed=seed,
    )
    alone = {
        name: network_facts(of.judged[key], of.doubted[key], seed=seed)
        for name, of in zip(A_AND_B, (of_a, of_b), strict=True)
    }
    return alone | {"agreement": 1 - pair["flip_rate"]} | pair


def held_out_for_both(a: Bundle, b: Bundle, data: CellSet) -> tuple[LabelledCell, ...]:
    """Return the cells whose group neither bundle has seen.

    Raises
    ------
    DataRefusedError
        There are none, or of one class alone; it says whose training covers the data.
    """
    new_to = {name: unseen(data.cells, bundle_record(bundle))[0] for name, bundle in (("A", a), ("B", b))}
    groups = {cell.group for cell in new_to["B"]}
    both = tuple(cell for cell in new_to["A"] if cell.group in groups)
    cure = "pass --data with subjects that neither was trained on"
    for name, bundle in (("A", a), ("B", b)):
        if data.labelled and not new_to[name]:
            raise DataRefusedError(
                f"{name} ({bundle.path.name}) has seen every subject in {data.folder}", cure=cure
            )
    if data.labelled and not both:
        raise DataRefusedError(
            f"no cell in {data.folder} is new to both bundles",
            got=f"{len(new_to['A'])} cells new to A and {len(new_to['B'])} new to B",
            cure=cure,
        )
    require_both_classes(both, "the comparison (of cells that neither bundle has seen)")
    return both


def answer(settled: Facts) -> str:
    """Say the verdict on B."""
    needed = settled["images_needed"]
    return ANSWERS[settled["verdict"]] + (f": about {needed:,} more images" if needed else "")


def contract_differences(a: Manifest, b: Manifest) -> list[str]:
    """Name in words what B asks for, or decides by, otherwise than A; nothing where they agree."""
    differences = [
        f"{title}: {one} in A, {other} in B"
        for title, one, other in zip(_TITLES, _contract(a), _contract(b), strict=True)
        if one != other
    ]
    if a.envelope != b.envelope or _without_limit(a.gate) != _without_limit(b.gate):
        differences.append("other ranges of area, colour or sharpness make a cell uncertain")
    return differences


_TITLES = (
    "schema version",
    "input size",
    "channels",
    "normalised colours",
    "scale",
    "rim taken off",
    "scale of a lone crop",
    "framing",
    "output",
    "forest's weight",
    "threshold",
    "uncertain between",
    "gate",
    "limit of the features' distance",
    "conformal sets",
)


def _contract(manifest: Manifest) -> tuple[str, ...]:
    contract, output, gate = manifest.input, manifest.output, manifest.gate
    features = gate.features if gate else None
    return (
        str(manifest.schema_version),
        f"{contract.height}x{contract.width}",
        " + ".join(contract.channels),
        "yes" if contract.normalise else "no",
        f"{contract.px_per_um:g} px/um",
        f"{contract.rim_um:g} um",
        f"{contract.crop_px_per_um:g} px/um",
        f"{contract.framing}, {contract.resize}, surroundings {contract.surroundings}",
        output.kind,
        f"{output.forest_weight:.3f}",
        f"{output.threshold:.3f}",
        f"{output.abstain[0]:.3f} and {output.abstain[1]:.3f}",
        ("colour, sharpness" + (", features" if features else "")) if gate else "none",
        f"{features.limit:.3f}" if features else "none",
        "none" if output.conformal is None else f"at {1 - output.conformal.alpha:.0%}",
    )


def _without_limit(gate: OutOfDistribution | None) -> OutOfDistribution | None:
    return None if gate is None else msgspec.structs.replace(gate, features=None)


def _answers(bundle: Bundle, seen: Any, data: CellSet, threads: int) -> Answers:
    with open_networks(bundle.members, bundle.manifest.input, threads=threads) as networks:
        int8 = {key: network for key, network in networks.items() if key not in FLOAT_KEYS}
        return judge_networks(int8, bundle_rules(bundle), seen, folder=data.folder)


def _named(bundle: Bundle) -> Facts:
    return {
        "path": str(bundle.path),
        "name": bundle.manifest.name,
        "sha256": bundle.sha256,
        "stamp": with_training_stamp(None, bundle_record(bundle).stamp),
    }
