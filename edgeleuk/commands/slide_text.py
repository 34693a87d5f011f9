"""What a written slide is, in lines for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeleuk.io.console import printable

if TYPE_CHECKING:
    from edgeleuk.results.structs import SlideWritten

_MOST_LISTED = 3


def slide_text(written: SlideWritten) -> str:
    """Say what was written."""
    size = f"{written.width}x{written.height} px at {written.px_per_um:.3f} px/um"
    lines = [f"slide     {printable(written.slide)}: {size}, {written.compression}"]
    if written.plane_step_um is not None:
        told = (
            "joined by extended focus, with a map" if written.is_extended_focus else f"{written.planes} kept"
        )
        lines.append(f"planes    {told}; {written.plane_step_um:g} um apart")
    alone = f", {written.by_stage_alone} placed by the stage alone" if written.by_stage_alone else ""
    missing = f", {written.missing} missing" if written.missing else ""
    lines.append(f"fields    {written.fields}{missing}{alone}; {written.light}")
    lines.append(
        f"steps     {written.steps_measured} measured, {written.steps_by_stage} by the stage,"
        f" {written.steps_refused} refused; {written.residual_px:.2f} px left over"
    )
    if written.lost_steps:
        named = [f"{one.field} by {one.x_um:g}, {one.y_um:g} um" for one in written.lost_steps[:_MOST_LISTED]]
        more = " and more" if len(written.lost_steps) > _MOST_LISTED else ""
        lines.append(
            f"marked    {len(written.lost_steps)} fields where the stage had lost steps:"
            f" field {', '.join(named)}{more}"
        )
    left_out = f", {written.cells_left_out} left out" if written.cells_left_out else ""
    return "\n".join([*lines, f"cells     {written.cells}{left_out}, in {printable(written.geojson)}"])
