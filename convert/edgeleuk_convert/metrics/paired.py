"""Two networks on the same cells: what the second loses, cell by cell and with bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgeleuk.results import incomplete_beta
from edgeleuk_convert.dataset.cnmc_layouts import natural_key
from edgeleuk_convert.metrics.classification import METRICS, RESAMPLES, metrics_of_resamples

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from edgeleuk_convert.metrics.classification import Judged

    Facts = dict[str, Any]

# All but the calibration error, which is better when lower, and the area, which no network changes.
DROPPING = tuple(name for name in METRICS if name not in ("ece", "baseline_area_auroc"))
FLOAT_AND_INT8 = ("float", "int8")


def paired_facts(
    reference: Judged,
    other: Judged,
    files: Sequence[str],
    *,
    threshold: float,
    names: tuple[str, str] = FLOAT_AND_INT8,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Facts:
    """Compare two networks that judged the same cells.

    Parameters
    ----------
    reference, other : Judged
        Of the same cells in the same order.
    files : sequence of str
        What each cell is called.
    threshold : float
        Probability at and above which `reference` called a cell a blast: margins are measured from it.
    names : (reference's, other's)
        End the keys of what each said: ``probability_float``.
    resamples, seed : int
        Of the bootstrap.

    Returns
    -------
    dict
        ``X_drop`` and ``X_drop_upper_95`` for each of `DROPPING`: the drop, and the 95th percentile of it
        over draws of whole groups, the same groups for both networks (one-sided upper 95 % bound).
        ``ece_change`` and ``ece_change_upper_95``: the same of the calibration error, upwards.
        ``mcnemar``: see `mcnemar`. ``flips flip_rate``: decisions that differ, and their share;
        ``flipped``: each of these cells, the one furthest from the threshold first.
        ``max_probability_change mean_probability_change``, ``most_changed``: the cell of the largest.
        ``worst_subject``: see `worst_subject`.

    Raises
    ------
    ValueError
        The networks judged different cells.
    """
    n = len(reference.truth)
    if len(files) != n or not all(
        np.array_equal(getattr(reference, name), getattr(other, name)) for name in ("truth", "group")
    ):
        msg = f"expected two networks and names of the same {n} cells"
        raise ValueError(msg)
    facts: Facts = {}
    before, after = (
        metrics_of_resamples(judged, resamples=resamples, seed=seed) for judged in (reference, other)
    )
    for metric in DROPPING:
        facts |= _with_bound(f"{metric}_drop", before[metric] - after[metric])
    facts |= _with_bound("ece_change", after["ece"] - before["ece"])
    facts["mcnemar"] = mcnemar(reference, other)
    change = np.abs(reference.probability - other.probability)
    margin = np.abs(reference.probability - threshold)

    def entry(row: int) -> Facts:
        return {
            "file": files[row],
            "subject": str(reference.subject[row]),
            "group": str(reference.group[row]),
            "truth": "blast" if reference.truth[row] else "normal",
            f"probability_{names[0]}": float(reference.probability[row]),
            f"probability_{names[1]}": float(other.probability[row]),
            "margin": float(margin[row]),
        }

    flipped = np.flatnonzero(reference.called != other.called)
    furthest = flipped[np.argsort(-margin[flipped], kind="stable")].tolist()
    return facts | {
        "flips": len(flipped),
        "flip_rate": len(flipped) / n,
        "flipped": [entry(row) for row in furthest],
        "max_probability_change": float(change.max()),
        "mean_probability_change": float(change.mean()),
        "most_changed": entry(int(change.argmax())),
        "worst_subject": worst_subject(reference, other, files, names),
    }


def mcnemar(reference: Judged, other: Judged) -> Facts:
    """Test whether two networks that judged the same cells are right equally often: McNemar, exact.

    Of the cells that only one of them called right, each is as likely to be either's: ``lost`` follows a
    binomial of ``lost + gained`` and one half. The two-sided p-value is that of the exact binomial for any
    number of cells, since its sum is an incomplete beta function. It takes cells for independent, which those
    of one subject are not, so that it decides nothing here.
    Sources: McNemar, Psychometrika 12:153, 1947; exact: Fagerland, Lydersen and Laake, BMC Medical Research
    Methodology 13:91, 2013, equation 2; the sum: Press et al., "Numerical Recipes", section 6.4.

    Parameters
    ----------
    reference, other : Judged
        Of the same cells.

    Returns
    -------
    dict
        ``lost``: cells that only `reference` called right. ``gained``: that only `other` did. ``p``.
    """
    right = reference.called == reference.truth
    kept = other.called == other.truth
    lost, gained = int(np.count_nonzero(right & ~kept)), int(np.count_nonzero(~right & kept))
    return {"lost": lost, "gained": gained, "p": exact_p(lost, gained)}


def exact_p(lost: int, gained: int) -> float:
    """Two-sided p-value of `lost` among ``lost + gained`` under a binomial of one half.

    Examples
    --------
    >>> round(exact_p(5, 0), 6), exact_p(0, 0)
    (0.0625, 1.0)
    """
    fewer, more = sorted((lost, gained))
    # P(X <= fewer) of a binomial (n, p) is I_{1-p}(n - fewer, fewer + 1).
    return 1.0 if fewer == more else min(1.0, 2 * incomplete_beta(more, fewer + 1, 0.5))


def worst_subject(
    reference: Judged, other: Judged, files: Sequence[str], names: tuple[str, str] = FLOAT_AND_INT8
) -> Facts | None:
    """Find the subject whose cells lose the most of their accuracy.

    Returns
    -------
    dict or None
        ``subject group cells``, ``accuracy_float`` and ``accuracy_int8`` (by `names`), ``drop``, and
        ``flipped``, the files of its cells that are called otherwise. None where no subject loses. Of
        equals it is the one with more cells, then the first by name.
    """
    right = [judged.called == judged.truth for judged in (reference, other)]
    subjects: list[tuple[float, int, str, npt.NDArray[np.bool_]]] = []
    for subject in sorted(set(reference.subject.tolist()), key=natural_key):
        rows = reference.subject == subject
        drop = float(right[0][rows].mean() - right[1][rows].mean())
        subjects.append((drop, int(rows.sum()), subject, rows))
    drop, cells, subject, rows = max(subjects, key=lambda one: one[:2])
    if drop <= 0:
        return None
    flipped = np.flatnonzero(rows & (reference.called != other.called)).tolist()
    return {
        "subject": subject,
        "group": str(reference.group[rows][0]),
        "cells": cells,
        f"accuracy_{names[0]}": float(right[0][rows].mean()),
        f"accuracy_{names[1]}": float(right[1][rows].mean()),
        "drop": drop,
        "flipped": [files[row] for row in flipped],
    }


def _with_bound(key: str, values: npt.NDArray[np.float64]) -> Facts:
    """Return what is on the cells as they are, and the 95th percentile of the resamples."""
    return {key: float(values[0]), f"{key}_upper_95": float(np.nanpercentile(values[1:], 95))}
