"""How much the draw of calibration images matters: 100 balanced or random images, many seeds, int8 TFLite.

For every seed and strategy the network is converted as `edgeleuk convert` does and compared with float on the
held-out groups. The bars: 100 balanced images are within .2 points of weighted F1 of 500, and random
selection's spread over the seeds (standard deviation) is at least twice the balanced one's. Prints a table on
standard error and JSON on standard output; exits 3 when a bar is missed. What is measured is kept in
`--state`, so that a stopped run goes on.

    python tests/bench/calibration_spread.py MODEL.keras DATA [--seeds 20] [--cells 400] [--state FILE]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from edgeleuk.io.console import print_json, say, set_voice
from edgeleuk_calibration.selection import STRATEGIES, select_balanced
from edgeleuk_calibration.size_curve import ENOUGH

IMAGES, LARGEST = 100, 500
LEAST_RATIO = 2.0
MEASURES = {
    "weighted_f1_drop": "drop in weighted F1 (points)",
    "mean_logit_difference": "mean logit difference",
    "max_logit_difference": "largest logit difference",
    "flips": "flips",
}


def measure(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Convert and compare for every seed and strategy; key: ``strategy images seed``."""
    import msgspec

    from edgeleuk_convert.bundling.calibrate import Choice, HeldOut, choose
    from edgeleuk_convert.dataset.cnmc import load_cells
    from edgeleuk_convert.evaluation.evaluate import unseen
    from edgeleuk_convert.networks.loading import load_network
    from edgeleuk_convert.quantization.calibration_data import read_calibration
    from edgeleuk_convert.quantization.prepare import TFLITE_MEMBER, Quantizer, prepare_for_int8
    from edgeleuk_convert.training.forest import read_forest
    from edgeleuk_convert.training.record import read_record

    made_of = [hashlib.sha256(options.model.read_bytes()).hexdigest(), str(options.data), options.cells]
    done: dict[str, dict[str, Any]] = {}
    if options.state.exists():
        kept = json.loads(options.state.read_text())
        if kept["made_of"] != made_of:
            sys.exit(f"{options.state} is of another network, folder or --cells: give another --state")
        done = kept["done"]
    record = read_record(options.model)
    # Groups that only near-duplicates join make no difference to the spread.
    cells = load_cells(options.data)
    fresh, seen = unseen(cells.cells, record)
    judged = fresh if options.cells is None else select_balanced(fresh, options.cells).images
    prepared = prepare_for_int8(load_network(options.model).model, record.input, record.output)
    reference = prepared.reference()
    forest = read_forest(options.model, record.output.forest_weight)
    held_out = HeldOut(prepared, reference, record, forest, judged)
    jobs = [("balanced", LARGEST, 0)]
    jobs += [(name, IMAGES, seed) for seed in range(options.seeds) for name in options.strategies]
    for name, images, seed in jobs:
        key = f"{name} {images} {seed}"
        if key not in done:
            say(f"  {key} ...")
            chosen = choose(cells, seen, fresh, Choice(images, name, seed)).images
            with read_calibration(chosen, prepared.input) as tensors:
                int8 = Quantizer(prepared, tensors, reference).build(TFLITE_MEMBER)
                result = held_out.compare(int8, asked=images, images=len(chosen))
            done[key] = msgspec.to_builtins(result)
            options.state.write_text(json.dumps({"made_of": made_of, "done": done}, indent=1))
    return {f"{name} {images} {seed}": done[f"{name} {images} {seed}"] for name, images, seed in jobs}


def main() -> int:
    """Measure, print, and judge."""
    set_voice()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--cells", type=int, help="judge on so many held-out cells, balanced, not on all")
    parser.add_argument("--strategies", nargs="+", choices=STRATEGIES, default=["balanced", "random"])
    parser.add_argument("--state", type=Path, default=Path("calibration-spread.json"))
    options = parser.parse_args()
    if options.seeds < 2 or not {"balanced", "random"} <= set(options.strategies):
        parser.error("the spread needs 2 seeds or more, and the strategies balanced and random")
    results = measure(options)
    of = {
        name: {
            key: [results[f"{name} {IMAGES} {seed}"][key] for seed in range(options.seeds)]
            for key in MEASURES
        }
        for name in options.strategies
    }
    table = {
        name: {
            key: {"mean": float(np.mean(v)), "std": float(np.std(v, ddof=1)), "worst": max(v)}
            for key, v in values.items()
        }
        for name, values in of.items()
    }
    largest = results[f"balanced {LARGEST} 0"]
    gaps = [abs(drop - largest["weighted_f1_drop"]) for drop in of["balanced"]["weighted_f1_drop"]]
    # Where no balanced draw changes anything there is no ratio.
    ratios = {
        key: table["random"][key]["std"] / std if (std := table["balanced"][key]["std"]) else None
        for key in MEASURES
    }
    reasons = []
    if gaps[0] > ENOUGH:
        reasons.append(f"100 balanced images are {100 * gaps[0]:.2f} points from {largest['images']}")
    random, balanced = (table[name]["weighted_f1_drop"]["std"] for name in ("random", "balanced"))
    if not random or random < LEAST_RATIO * balanced:
        reasons.append(
            f"random selection's spread is {100 * random:.3f} points, the balanced one's {100 * balanced:.3f}"
        )
    for key, title in MEASURES.items():
        factor = 100 if key == "weighted_f1_drop" else 1
        say(f"{title}: {factor * largest[key]:.3f} with {largest['images']} balanced images")
        for name in options.strategies:
            line = "   ".join(f"{part} {factor * value:8.4f}" for part, value in table[name][key].items())
            say(f"  {name:<9} {line}")
        ratio = ratios[key]
        say(f"  random / balanced spread: {'none' if ratio is None else f'{ratio:.2f}'}")
    say(
        f"100 balanced against {largest['images']}: {sum(gap <= ENOUGH for gap in gaps)} of {len(gaps)} seeds"
        f" within .2 points, the furthest {100 * max(gaps):.2f}"
    )
    print_json(
        {
            "schema_version": 1,
            "seeds": options.seeds,
            "largest": largest,
            "strategies": table,
            "spread_ratio": ratios,
            "gaps_to_largest": gaps,
            "verdict": "fail" if reasons else "pass",
            "reasons": reasons,
        }
    )
    return 3 if reasons else 0


if __name__ == "__main__":
    sys.exit(main())
