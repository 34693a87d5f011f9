"""How many flipped weight bytes the golden answers notice, where every hash was made to fit.

Flips the top bit of weight bytes of the shipped int8 networks, chosen at random, one at a time, and replays
the golden cells without looking at any hash. Prints a line for each network.

    python tests/bench/weight_flips.py [--flips 300]
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

HERE = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent / "convert"), str(HERE.parent / "calibration")]

from weights import flipped, some_weights, weight_spans  # noqa: E402

from edgeleuk.bundle.golden import decode_golden, encode_golden  # noqa: E402
from edgeleuk.bundle.manifest import GOLDEN, MODEL_FILES  # noqa: E402
from edgeleuk.bundle.reading import read_bundle  # noqa: E402
from edgeleuk.classifier.classifier import bundle_rules, open_classifier  # noqa: E402
from edgeleuk.classifier.self_test import self_test  # noqa: E402
from edgeleuk_convert.bundling.golden import make_golden  # noqa: E402

if TYPE_CHECKING:
    from edgeleuk.bundle.contents import Bundle


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--flips", type=int, default=300)
    flips = parser.parse_args().flips
    shipped = read_bundle("default")
    # Of this version, whichever the shipped ones are.
    golden = make_golden(shipped.members, shipped.manifest.input, bundle_rules(shipped))
    unaware = encode_golden(replace(decode_golden(golden), made_with=None))
    bundle = replace(shipped, members={**shipped.members, GOLDEN: unaware})
    for name in bundle.manifest.model_names:
        model = bundle.members[name]
        if MODEL_FILES[name].precision == "int8" and weight_spans(name, model):
            noticed = sum(
                is_noticed(bundle, name, flipped(model, at)) for at in some_weights(name, model, flips)
            )
            print(f"{name}: {noticed} of {flips} flipped weight bytes noticed ({noticed / flips:.1%})")


def is_noticed(bundle: Bundle, name: str, model: bytes) -> bool:
    changed = replace(bundle, members={**bundle.members, name: model})
    network = MODEL_FILES[name]
    classifier = open_classifier(changed, runtime=network.runtime, precision=network.precision)
    results = self_test(changed, name, classifier)
    classifier.close()
    return any(result.status == "moved" for result in results)


if __name__ == "__main__":
    main()
