"""Does `edgeleuk contract` find how a network was fed? Seven small networks, each fed in another way.

Trains each on the groups of one side of C-NMC's cells, forgets how, and asks `find_contract` with cells of
the other side. Prints each answer on standard error and JSON on standard output; exits 3 where one is wrong
and the right one is not among those that it says cannot be told apart.

    python tests/bench/contracts.py ../shared/data/cnmc
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

SIDE = 64
EPOCHS = 6
CELLS = 900


class Fed(NamedTuple):
    """How a network is taught."""

    values: int
    channels: str
    framing: str
    resize: str
    inverted: bool = False


NETWORKS = {
    "bytes": Fed(2, "RGB", "centred", "halve-exact"),
    "0 to 1, whole picture": Fed(0, "RGB", "picture", "bilinear"),
    "-1 to 1, BGR": Fed(1, "BGR", "centred", "halve-exact"),
    "caffe": Fed(3, "BGR", "picture", "area"),
    "torch": Fed(4, "RGB", "centred", "halve-exact"),
    "0 to 1, inverted": Fed(0, "RGB", "centred", "halve-exact", inverted=True),
    "box": Fed(0, "RGB", "box", "bilinear"),
}


def trained(fed: Fed, cells: Any) -> Any:
    """Teach a small network with the cells of one side."""
    import keras
    from keras import layers

    from edgeleuk.inference.preprocessing import to_tensor
    from edgeleuk.inference.quantization import look_up, real_table
    from edgeleuk_convert.bundling.contract_search.candidates import BGR, RGB, VALUES, Candidate
    from edgeleuk_convert.dataset.cnmc import read_crop

    way = Candidate(VALUES[fed.values], RGB if fed.channels == "RGB" else BGR, fed.framing, fed.resize)  # type: ignore[arg-type]
    contract = way.contract(SIDE, SIDE, 18.5)
    images = look_up(
        real_table(contract.scale, contract.offset),
        np.stack([to_tensor(read_crop(cell), contract) for cell in cells]),
    )
    truth = np.array([(cell.label == "blast") != fed.inverted for cell in cells], np.float32)
    keras.utils.set_random_seed(len(fed.framing) + fed.values)
    x = image = keras.Input((SIDE, SIDE, 3))
    for filters in (12, 24, 48):
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
        x = layers.MaxPooling2D()(layers.ReLU()(layers.BatchNormalization(momentum=0.95)(x)))
    x = layers.Dropout(0.3)(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(image, layers.Dense(1, activation="sigmoid")(x))
    model.compile(keras.optimizers.Adam(2e-3), "binary_crossentropy")
    flipped = np.concatenate([images, images[:, ::-1], images[:, :, ::-1]])
    model.fit(flipped, np.tile(truth, 3), epochs=EPOCHS, batch_size=32, verbose=0)
    return way, model


def main() -> int:
    """Train, forget, ask, judge."""
    from edgeleuk_calibration.selection import select_balanced
    from edgeleuk_convert.bundling.contract_search.search import find_contract
    from edgeleuk_convert.bundling.foreign import divided
    from edgeleuk_convert.dataset.cnmc import load_cells
    from edgeleuk_convert.dataset.leakage import fingerprints, join_near_duplicates

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    options = parser.parse_args()
    cells = load_cells(options.data)
    joined = join_near_duplicates(cells, fingerprints(cells.labelled))
    taught, fresh = divided(joined.cells, seed=0, folds=2)
    known = select_balanced(taught, CELLS).images
    right, results = 0, []
    for name, fed in NETWORKS.items():
        way, model = trained(fed, known)
        begun = time.perf_counter()
        found = find_contract(model, name, fresh)
        swapped = found.classes[0] == "blast"
        exact = found.title == way.title
        alike = any(of.title == way.title for of in found.alike)
        good = (exact or alike) and swapped == fed.inverted
        right += good
        verdict = "right" if exact else "cannot be told apart" if alike else "WRONG"
        results.append(
            {
                "network": name,
                "taught": way.title,
                "found": found.title,
                "verdict": verdict if swapped == fed.inverted else "WRONG CLASS",
                "auroc": found.auroc,
                "interval_95": [found.low, found.high],
                "alike": [of.title for of in found.alike],
                "seconds": time.perf_counter() - begun,
            }
        )
        last = results[-1]
        print(
            f"{name:<22} {last['verdict']:<22} AUROC {found.auroc:.3f}  {found.title}",
            file=sys.stderr,
            flush=True,
        )
        if not exact:
            print(f"{'':<22} taught {way.title}; alike {len(found.alike)}", file=sys.stderr, flush=True)
    print(json.dumps({"right": right, "of": len(NETWORKS), "networks": results}, indent=1))
    return 0 if right == len(NETWORKS) else 3


if __name__ == "__main__":
    sys.exit(main())
