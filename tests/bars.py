"""What benchmarks of a scan share: the area on the command line, and bars that are met or missed."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from edgeleuk.commands.scan import parse_area
from edgeleuk.stage.scanning import ScanPlan

if TYPE_CHECKING:
    from collections.abc import Mapping


def scan_options(about: str, area: str) -> argparse.ArgumentParser:
    """Return a parser of the options that all have, with that area as the default."""
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("--area", default=area, help="mm, WxH")
    parser.add_argument("--seed", type=int, default=1)
    return parser


def plan_of(area: str) -> tuple[ScanPlan, dict[str, list[float]]]:
    """Return how an area is walked over, and how a result tells it."""
    sides_um = parse_area(area)
    return ScanPlan(*sides_um), {"area_mm": [side / 1000 for side in sides_um]}


def judged(result: dict[str, Any], bars: Mapping[str, tuple[float, bool]]) -> int:
    """Print a result as JSON, and each bar on standard error; 3 if one is missed.

    Parameters
    ----------
    result : dict
    bars : mapping
        Of what is measured to the measure and whether that is good enough.
    """
    held = {name: {"measured": round(value, 5), "met": bool(met)} for name, (value, met) in bars.items()}
    print(json.dumps({"schema_version": 1, **result, "bars": held}))
    for name, (value, met) in bars.items():
        print(f"{'met   ' if met else 'MISSED'} {value:.4f}  {name}", file=sys.stderr)
    return 0 if all(met for _, met in bars.values()) else 3
