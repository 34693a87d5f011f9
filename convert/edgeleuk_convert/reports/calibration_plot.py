"""The picture of a calibration set's checks, as PNG bytes."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeleuk_calibration.ranges import RangeChecks
    from edgeleuk_calibration.size_curve import SizeResult

DPI = 110
MOST_TENSORS = 60
OUTSIDE, STABLE = "#b5352c", "#2b6cb0"


def calibration_figure(checks: RangeChecks, curve: Sequence[SizeResult]) -> bytes:
    """Draw, tensor by tensor, what lies outside its range and what two halves agree on; the curve beside it.

    Of a network with more than 60 tensors those with the most outside are drawn, in the network's order.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    worst = sorted(checks.tensors, key=lambda tensor: -tensor.outside)[:MOST_TENSORS]
    shown = [tensor for tensor in checks.tensors if tensor in worst]
    panels = 3 if curve else 2
    figure = Figure(figsize=(4.5 * panels, 1.6 + 0.17 * len(shown)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, panels)
    rows = range(len(shown))
    axes[0].barh(rows, [100 * tensor.outside for tensor in shown], color=OUTSIDE)
    axes[0].set_yticks(rows, [tensor.tensor for tensor in shown], fontsize=6)
    axes[0].set_xlabel(f"% of activations outside ({checks.held_out_images} held-out images)", fontsize=8)
    axes[1].barh(rows, [100 * tensor.stability for tensor in shown], color=STABLE)
    axes[1].set_yticks([])
    axes[1].set_xlabel(f"% of the range in both halves ({checks.calibration_images} images)", fontsize=8)
    for axis in axes[:2]:
        axis.invert_yaxis()
        axis.margins(y=0.01)
    if curve:
        points = sorted(curve, key=lambda result: result.images)
        axes[2].plot(
            [result.images for result in points],
            [100 * result.weighted_f1_drop for result in points],
            marker="o",
            color="#111111",
        )
        axes[2].set_xscale("log")
        axes[2].set_xticks([result.images for result in points], [str(result.images) for result in points])
        axes[2].minorticks_off()
        axes[2].set_xlabel("calibration images", fontsize=8)
        axes[2].set_ylabel("drop in weighted F1 (points)", fontsize=8)
    content = io.BytesIO()
    # Without Matplotlib's name and address in it the same facts give the same bytes.
    figure.savefig(content, format="png", dpi=DPI, metadata={"Software": None})
    return content.getvalue()
