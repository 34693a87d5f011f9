"""``edgeleuk validate``: what it does, and how it says it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from edgeleuk.bundle.manifest import CALIBRATION
from edgeleuk.bundle.reading import read_bundle
from edgeleuk.classify import bundle_rules, open_networks
from edgeleuk.console import progress_bar, say
from edgeleuk.errors import UsageError
from edgeleuk_calibration.card import decode_card, require_disjoint
from edgeleuk_convert.cnmc import require_both_classes
from edgeleuk_convert.evaluation import unseen
from edgeleuk_convert.gating import see_cells
from edgeleuk_convert.layers import layers_text, rank_bundle
from edgeleuk_convert.leakage import with_training_stamp
from edgeleuk_convert.reading import read_cells
from edgeleuk_convert.record import bundle_record
from edgeleuk_convert.report import make_folder
from edgeleuk_convert.validation import REFERENCE, compare

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from edgeleuk.bundle.manifest import InputContract
    from edgeleuk.bundle.reading import Bundle
    from edgeleuk.classify import Rules
    from edgeleuk.runtimes import ModelRuntime
    from edgeleuk_convert.cnmc import LabelledCell


def validate(bundle: str, data: Path, *, layers: bool = False, out: Path | None = None) -> dict[str, Any]:
    """Compare a bundle's networks on what none of them has seen, and rank their layers where asked to."""
    if out is not None and not layers:
        raise UsageError("--out is for the plot of the layers", cure="pass --layers as well")
    opened = read_bundle(bundle)
    networks = open_networks(opened.members, opened.manifest.input, threads=os.cpu_count() or 1)
    if REFERENCE not in networks:
        raise UsageError(f"{opened.path.name} carries no float network to compare with")
    record = bundle_record(opened)
    fresh, _ = unseen(read_cells(data).cells, record)
    require_disjoint(decode_card(opened.members[CALIBRATION]), fresh)
    require_both_classes(fresh, "validation")
    result = compared(networks, opened.manifest.input, bundle_rules(opened), fresh)
    if layers:
        result |= _ranked(opened, fresh, out)
    return result | {"stamp": with_training_stamp(None, record.stamp)}


def _ranked(opened: Bundle, fresh: Sequence[LabelledCell], out: Path | None) -> dict[str, Any]:
    """Rank the layers of a bundle's int8 networks, and draw them into a folder."""
    if out is not None:
        make_folder(out)
    with progress_bar("measuring layers") as report:
        return rank_bundle(opened.members, opened.manifest.input, fresh, out, progress=report)


def validation_text(result: dict[str, Any]) -> str:
    """Say how much int8 lost."""
    if "reference" not in result:
        return "not validated: no held-out subject of both classes is among the images"
    reference = result["reference"]
    lines = [result["stamp"]] if result.get("stamp") else []
    lines += [
        f"on {reference['cells']} cells of {reference['subjects']} subjects that were held out:",
        "  network       weighted F1   AUROC     drop  at most  flips  largest change",
        f"  {'float32':<13} {reference['weighted_f1']:>11.4f} {reference['auroc']:>7.4f}",
    ]
    lines += [
        f"  {key:<13} {result[key]['weighted_f1']:>11.4f} {result[key]['auroc']:>7.4f}"
        f" {result[key]['weighted_f1_drop']:>8.4f} {result[key]['weighted_f1_drop_upper_95']:>8.4f}"
        f" {result[key]['flips']:>6} {result[key]['max_probability_change']:>15.3f}"
        for key in ("tflite_int8", "onnx_int8", "tensorrt_int8")
        if key in result
    ]
    doubts = (result.get("tflite_int8") or reference)["uncertain_by_reason"]
    lines.append(
        f"{sum(doubts.values()):.1%} of the cells are uncertain: "
        + ", ".join(f"{reason} {share:.1%}" for reason, share in doubts.items())
    )
    if "layers" in result:
        lines.append(layers_text(result))
    return "\n".join([*lines, f"verdict: {result['verdict']}"])


def compared(
    networks: Mapping[str, ModelRuntime],
    contract: InputContract,
    rules: Rules,
    fresh: Sequence[LabelledCell],
) -> dict[str, Any]:
    """Compare networks on held-out cells."""
    with progress_bar("preparing") as report:
        seen = see_cells(fresh, contract, progress=report)
    say("  comparing int8 with float ...")
    return compare(networks, rules, seen)
