"""Do int8 networks decide as Keras does? Twelve of keras.applications, in the formats of Keras 2 and 3.

Each gets random weights (no pretrained ones are fetched), the batch norms' averages of real cells, and a head
taught on one side of C-NMC's groups. Its file is read, quantized with cells of that side, and asked about
cells of the other. Prints a line for each on standard error and JSON on standard output; exits 3 where a
decision of more than one in a hundred differs and nothing refused or named the network.

    python tests/bench/architectures.py ../shared/data/cnmc [NAME ...] [--store FILE.jsonl]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

SIDE = 96
TAUGHT, CALIBRATING, JUDGED = 400, 100, 200
# What each takes, by its place in `VALUES`: 1 is -1 to 1, 2 bytes, 3 caffe's way, 4 torch's way.
ARCHITECTURES: dict[str, tuple[int, dict[str, Any]]] = {
    "MobileNet": (1, {"alpha": 0.5}),
    "MobileNetV2": (1, {"alpha": 0.5}),
    "MobileNetV3Small": (2, {}),
    "VGG16": (3, {}),
    "ResNet50": (3, {}),
    "ResNet50V2": (1, {}),
    "DenseNet121": (4, {}),
    "InceptionV3": (1, {}),
    "Xception": (1, {}),
    "EfficientNetB0": (2, {}),
    "EfficientNetV2B0": (2, {}),
    "NASNetMobile": (1, {}),
}
FORMATS = {"keras": ".keras", "tf_keras": ".h5"}


def taught(library: str, name: str, images: np.ndarray, truth: np.ndarray) -> Any:
    """Give a network of one library its batch norms' averages and a head.

    Parameters
    ----------
    images : (n, SIDE, SIDE, 3) float32, as the network is fed
    truth : (n,) bool
    """
    import importlib

    library_of = importlib.import_module(library)
    library_of.utils.set_random_seed(0)
    build = getattr(library_of.applications, name)
    trunk = build(
        input_shape=(SIDE, SIDE, 3), include_top=False, weights=None, pooling="avg", **ARCHITECTURES[name][1]
    )
    norms = [layer for layer in trunk.layers if type(layer).__name__ == "BatchNormalization"]
    kept = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    trunk(images[:128], training=True)
    for norm, momentum in zip(norms, kept, strict=True):
        norm.momentum = momentum
    features = np.concatenate([np.asarray(trunk(images[at : at + 50])) for at in range(0, len(images), 50)])
    weights, bias = _logistic(features, truth)
    layers = library_of.layers
    head = layers.Dense(1, activation="sigmoid", name="blast")
    model = library_of.Sequential([library_of.Input((SIDE, SIDE, 3)), trunk, layers.Dropout(0.2), head])
    head.set_weights([weights[:, None].astype(np.float32), np.array([bias], np.float32)])
    return model


def _logistic(features: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, float]:
    """Fit a logistic regression with a small penalty, on features of mean 0 and deviation 1."""
    mean, deviation = features.mean(0), features.std(0) + 1e-6
    x = (features - mean) / deviation / np.sqrt(features.shape[1])
    weights, bias = np.zeros(x.shape[1]), 0.0
    for _ in range(2000):
        wrong = 1 / (1 + np.exp(-(x @ weights + bias))) - truth
        weights -= 2.0 * (x.T @ wrong / len(x) + 1e-3 * weights)
        bias -= 2.0 * wrong.mean()
    weights = weights / deviation / np.sqrt(features.shape[1])
    return weights, float(bias - mean @ weights)


def held(library: str, name: str, sides: tuple[list[Any], list[Any]], folder: Path) -> dict[str, Any]:
    """Teach, save, read, quantize and compare one network."""
    from edgeleuk.bundle.manifest import OutputContract
    from edgeleuk.errors import EdgeleukError
    from edgeleuk.inference.log_odds import log_odds
    from edgeleuk.inference.preprocessing import to_tensor
    from edgeleuk_convert.bundling.contract_search.candidates import BGR, RGB, VALUES, Candidate
    from edgeleuk_convert.bundling.foreign import foreign_record
    from edgeleuk_convert.bundling.pack import convert_networks
    from edgeleuk_convert.bundling.repair import outputs_of
    from edgeleuk_convert.dataset.cnmc import read_crop
    from edgeleuk_convert.networks.loading import load_network
    from edgeleuk_convert.quantization.calibration_data import RealInput, keras_answers

    place = ARCHITECTURES[name][0]
    way = Candidate(VALUES[place], BGR if place == 3 else RGB, "picture", "area")
    contract = way.contract(SIDE, SIDE, 18.5)
    known, fresh = sides
    tensors, asked = (np.stack([to_tensor(read_crop(cell), contract) for cell in side]) for side in sides)
    truth = np.array([cell.label == "blast" for cell in known])
    model = taught(library, name, RealInput(tensors, contract)[:], truth)
    file = folder / f"{name}{FORMATS[library]}"
    model.save(file)
    wanted = np.concatenate(
        [
            np.asarray(model(RealInput(asked, contract)[at : at + 50])).ravel()
            for at in range(0, len(asked), 50)
        ]
    )
    begun = time.perf_counter()
    result: dict[str, Any] = {"network": name, "library": library, "cells": len(asked)}
    try:
        loaded = load_network(file)
        output = OutputContract(
            kind="probability",
            labels=("normal", "blast"),
            positive="blast",
            threshold=0.5,
            abstain=(0.5, 0.5),
        )
        record = foreign_record(loaded.model, (contract, output), known, fresh)
        made = convert_networks(
            loaded.model, record, tensors[:: len(tensors) // CALIBRATING], progress=lambda _: None
        )
        again = keras_answers(loaded.model, RealInput(asked, contract))
        result["loaded_difference"] = float(np.abs(again.ravel() - wanted).max())
        for member, outputs in outputs_of(made.networks, made.input, asked).items():
            odds = log_odds(outputs, made.output)
            result[member] = {
                "flips": int(((odds > 0) != (wanted > 0.5)).sum()),
                "correlation": float(np.corrcoef(odds, np.log(wanted) - np.log1p(-wanted))[0, 1]),
            }
        result["accuracy"] = float(
            (np.array([cell.label == "blast" for cell in fresh]) == (wanted > 0.5)).mean()
        )
    except EdgeleukError as error:
        result["refused"] = str(error)[:300]
    result["seconds"] = time.perf_counter() - begun
    return result


def main() -> int:
    """Hold each network in both formats against its original."""
    from edgeleuk_calibration.selection import select_balanced
    from edgeleuk_convert.bundling.foreign import divided
    from edgeleuk_convert.dataset.cnmc import load_cells

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("names", nargs="*", metavar="NAME", help="of keras.applications [default: twelve]")
    parser.add_argument(
        "--store", type=Path, help="results are added here, and what stands here is not done again"
    )
    options = parser.parse_args()
    known, fresh = divided(load_cells(options.data).labelled, seed=0, folds=2)
    sides = (list(select_balanced(known, TAUGHT).images), list(select_balanced(fresh, JUDGED).images))
    results = []
    if options.store and options.store.exists():
        results = [json.loads(line) for line in options.store.read_text().splitlines()]
    done = {(of["network"], of["library"]) for of in results}
    with tempfile.TemporaryDirectory() as folder:
        for name in options.names or ARCHITECTURES:
            for library in FORMATS:
                if (name, library) in done:
                    continue
                results.append(held(library, name, sides, Path(folder)))
                line = json.dumps(results[-1])
                print(line, file=sys.stderr, flush=True)
                if options.store:
                    with options.store.open("a") as store:
                        store.write(line + "\n")
    bad = [
        of
        for of in results
        if "refused" not in of
        and any(isinstance(part, dict) and part["flips"] > len(sides[1]) // 100 for part in of.values())
    ]
    print(json.dumps({"networks": len(results), "over_one_in_a_hundred": bad}, indent=1))
    return 3 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
