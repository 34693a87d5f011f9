"""int8 against float, cell by cell, on the device's own preprocessing and runtimes."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeleuk.classify import Check, doubt_of, sightings
from edgeleuk_convert.evaluation import judge
from edgeleuk_convert.metrics import interval_95, paired_drop, point_metrics

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeleuk.classify import Rules
    from edgeleuk.runtimes import ModelRuntime
    from edgeleuk_convert.gating import SeenCells
    from edgeleuk_convert.metrics import Judged

REFERENCE = "reference"
# What an int8 network may lose before it is refused.
LARGEST_F1_DROP = 0.01


def compare(
    models: Mapping[str, ModelRuntime],
    rules: Rules,
    seen: SeenCells,
    *,
    seed: int = 0,
) -> dict[str, Any]:
    """Judge every network on the same held-out cells, and each int8 one against the float one.

    Parameters
    ----------
    models : mapping of key to ModelRuntime
        With ``reference`` among them.
    rules : Rules
        What the device judges by.
    seen : SeenCells
        Held out, of both classes.
    seed : int
        Of the bootstrap.

    Returns
    -------
    dict
        As ``edgeleuk validate --json`` prints it: metrics of each network, for the int8 ones also
        ``flips flip_rate max_probability_change weighted_f1_drop weighted_f1_drop_upper_95``, and
        ``verdict``. The upper bound is the 95th percentile of a paired bootstrap over groups.
        ``uncertain`` of each network is the share of cells that the device would call so, and
        ``uncertain_by_reason`` divides it by the first check that doubts a cell; the metrics are of all.
    """
    judged, doubted = {}, {}
    for key, model in models.items():
        sighted = sightings(model.predict(seen.tensors), seen.areas_um2, seen.looks, rules, seen.numbers)
        probabilities = np.array([sighting.probability for sighting in sighted])
        judged[key] = judge(seen.cells, probabilities, rules.output.threshold)
        doubted[key] = Counter(doubt.check for one in sighted if (doubt := doubt_of(one, rules)) is not None)
    result: dict[str, Any] = {"schema_version": 1}
    for key, of_model in judged.items():
        result[key] = {
            "cells": len(seen.cells),
            "subjects": len(np.unique(of_model.subject)),
            "groups": len(np.unique(of_model.group)),
            **point_metrics(of_model),
            "interval_95": {name: list(ends) for name, ends in interval_95(of_model, seed=seed).items()},
            "uncertain": doubted[key].total() / len(seen.cells),
            "uncertain_by_reason": {check.value: doubted[key][check] / len(seen.cells) for check in Check},
        }
        if key != REFERENCE:
            result[key] |= _against(judged[REFERENCE], of_model, seed)
    result["verdict"] = _verdict([result[key] for key in judged if key != REFERENCE])
    return result


def _against(reference: Judged, other: Judged, seed: int) -> dict[str, float]:
    flips = int(np.count_nonzero(reference.called != other.called))
    drop, drops = paired_drop(reference, other, "weighted_f1", seed=seed)
    return {
        "flips": flips,
        "flip_rate": flips / len(reference.truth),
        "max_probability_change": float(np.abs(reference.probability - other.probability).max()),
        "weighted_f1_drop": drop,
        "weighted_f1_drop_upper_95": float(np.percentile(drops, 95)),
    }


def _verdict(models: Sequence[Mapping[str, float]]) -> str:
    """Return ``fail`` where a drop is over its limit, ``undecided`` where its bound is, else ``pass``."""
    if any(model["weighted_f1_drop"] > LARGEST_F1_DROP for model in models):
        return "fail"
    bounds = [model["weighted_f1_drop_upper_95"] for model in models]
    return "undecided" if any(bound > LARGEST_F1_DROP for bound in bounds) else "pass"
