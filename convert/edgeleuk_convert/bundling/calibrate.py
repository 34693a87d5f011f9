"""Choose a calibration set, check its ranges on held-out cells, and find how many images are enough."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from edgeleuk.bundle.contracts import Answer
from edgeleuk.bundle.manifest import Struct
from edgeleuk.classifier.cell_features import morphology_numbers
from edgeleuk.classifier.classifier import open_networks
from edgeleuk.classifier.decision import Rules, probabilities_of
from edgeleuk.inference.preprocessing import to_tensor
from edgeleuk.io.console import progress_bar, say
from edgeleuk_calibration.calibration_record import (
    encode_calibration_record,
    found_again,
    make_calibration_record,
    relative_name,
    require_disjoint,
    tensors_sha256,
    with_tensors,
)
from edgeleuk_calibration.ranges import check_ranges, ranges_text
from edgeleuk_calibration.selection import select, select_balanced
from edgeleuk_calibration.size_curve import (
    SIZES,
    SizeResult,
    curve_text,
    logit_differences,
    recommendation,
    recommended,
)
from edgeleuk_convert.bundling.pack import tool_versions
from edgeleuk_convert.dataset.cnmc import read_crop, require_both_classes
from edgeleuk_convert.dataset.measuring import measure
from edgeleuk_convert.dataset.seen_cells import see_cells
from edgeleuk_convert.environment import replace_file, silenced
from edgeleuk_convert.evaluation.evaluate import judge, require_unseen, unseen
from edgeleuk_convert.metrics.classification import point_metrics
from edgeleuk_convert.quantization.activation_ranges import FloatTensors, match_tensors
from edgeleuk_convert.quantization.calibration_data import RealInput, answers, read_calibration
from edgeleuk_convert.quantization.prepare import (
    REFERENCE,
    REFERENCE_MEMBER,
    TFLITE_MEMBER,
    Quantizer,
    prepare_for_int8,
    subset,
)
from edgeleuk_convert.reports.calibration_plot import calibration_figure
from edgeleuk_convert.reports.report import make_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from edgeleuk.bundle.forest import Forest
    from edgeleuk.bundle.manifest import InputContract
    from edgeleuk_calibration.calibration_record import CalibrationRecord, CalibrationSet
    from edgeleuk_calibration.ranges import Observed, RangeChecks
    from edgeleuk_convert.dataset.cells import CellSet, LabelledCell
    from edgeleuk_convert.quantization.calibration_data import TensorStore
    from edgeleuk_convert.quantization.prepare import PreparedNetwork
    from edgeleuk_convert.training.record import TrainingRecord

# `diverse` looks for far-apart images among so many, balanced: measuring a cell takes as long as reading it.
POOL = 1000
# Held-out images whose activations are compared with the calibrated ranges.
HELD_OUT_IMAGES = 200
CARD_FILE, RANGES_FILE, CURVE_FILE = "calibration.json", "ranges.json", "curve.json"
TEXT_FILE, PLOT_FILE = "ranges.txt", "ranges.png"


@dataclass(frozen=True, slots=True)
class Choice:
    """How a calibration set is asked for.

    Attributes
    ----------
    images : int
    strategy : str
    seed : int
    card : CalibrationRecord or None
        Names the images; then the others do not count.
    """

    images: int = 100
    strategy: str = "balanced"
    seed: int = 0
    card: CalibrationRecord | None = None


class Curve(Struct, frozen=True):
    """``curve.json``: of what it was made, and what is measured so far."""

    made_of: str
    sizes: tuple[SizeResult, ...] = ()
    schema_version: int = 1


def choose(
    cells: CellSet,
    seen: Sequence[LabelledCell],
    fresh: Sequence[LabelledCell],
    choice: Choice,
) -> CalibrationSet[LabelledCell]:
    """Choose calibration images among those that the network has seen, or find those of a card again.

    Parameters
    ----------
    cells : CellSet
    seen, fresh : sequence of LabelledCell
        From `unseen`: only cells that the network has seen may calibrate it, the others are for judging.
    choice : Choice

    Raises
    ------
    DataRefusedError
        Too few images or one class; images of the card are missing, or stand among `fresh`.
    """
    if choice.card is not None:
        chosen = found_again(choice.card, cells.labelled, folder=cells.folder)
    else:
        pool = seen
        if choice.strategy == "diverse":
            pool = select_balanced(seen, max(POOL, 2 * choice.images), seed=choice.seed).images
        chosen = select(
            pool,
            choice.images,
            strategy=choice.strategy,
            seed=choice.seed,
            folder=cells.folder,
            features=plain_numbers,
        )
    # By the groups as they are here: a card may come of a folder that joined fewer subjects.
    here = make_calibration_record(
        chosen.images, strategy=chosen.card.strategy, seed=chosen.card.seed, folder=cells.folder
    )
    require_disjoint(here, fresh)
    return chosen


def plain_numbers(cells: Sequence[LabelledCell]) -> npt.NDArray[np.float64]:
    """Measure the 14 plain numbers of each cell: (n, 14), what ``diverse`` spreads over."""
    with progress_bar("measuring") as bar:
        return np.array(measure(cells, morphology_numbers, progress=bar))


def prove(
    chosen: CalibrationSet[LabelledCell], contract: InputContract, tensors: TensorStore
) -> CalibrationRecord:
    """Return the set's card with the hash of its tensors, or refuse tensors that the card does not know."""
    return with_tensors(chosen.card, contract, tensors_sha256(tensors))


class HeldOut:
    """Held-out cells, what the float network says of them, and how an int8 network compares.

    Parameters
    ----------
    prepared : PreparedNetwork
    reference : mapping of str to bytes
        Its float TFLite network, with what stands beside it.
    record : TrainingRecord
    forest : Forest or None
    cells : sequence of LabelledCell
        Of both classes.
    """

    def __init__(
        self,
        prepared: PreparedNetwork,
        reference: Mapping[str, bytes],
        record: TrainingRecord,
        forest: Forest | None,
        cells: Sequence[LabelledCell],
    ) -> None:
        self._contract = prepared.input
        self._rules = Rules(prepared.output, record.envelope, forest=forest)
        with progress_bar("preparing") as bar:
            self._seen = see_cells(cells, self._contract, progress=bar)
        self._networks = reference
        self._reference = self._answers(REFERENCE, self._networks)
        self._judged = self._judge(self._reference)

    def compare(self, int8: bytes, *, asked: int, images: int) -> SizeResult:
        """Run an int8 TFLite network and measure what it lost."""
        outputs = self._answers("tflite_int8", subset({**self._networks, TFLITE_MEMBER: int8}, TFLITE_MEMBER))
        judged = self._judge(outputs)
        f1 = float(point_metrics(judged)["weighted_f1"])
        largest, mean = logit_differences(outputs, self._reference)
        return SizeResult(
            asked=asked,
            images=images,
            weighted_f1=f1,
            weighted_f1_drop=float(point_metrics(self._judged)["weighted_f1"]) - f1,
            max_logit_difference=largest,
            mean_logit_difference=mean,
            flips=int(np.count_nonzero(judged.called != self._judged.called)),
        )

    def _answers(self, key: str, networks: Mapping[str, bytes]) -> npt.NDArray[np.float32]:
        threads = os.cpu_count() or 1
        with silenced(), open_networks(networks, self._contract, threads=threads) as opened:
            return answers(opened[key], self._seen.tensors)

    def _judge(self, outputs: npt.NDArray[np.float32]) -> Any:
        probability = probabilities_of(Answer(outputs), self._rules, self._seen.numbers)
        return judge(self._seen.cells, probability, self._rules.output.threshold)


def calibrate(
    network: Any,
    record: TrainingRecord,
    cells: CellSet,
    out: Path,
    choice: Choice,
    *,
    model_sha256: str,
    forest: Forest | None = None,
    curve: bool = False,
) -> dict[str, Any]:
    """Choose a set and write its card, the range checks, and, where asked for, the curve over sizes.

    Parameters
    ----------
    network : keras.Model
    record : TrainingRecord
    cells : CellSet
        Training cells to choose from, and held-out ones.
    out : Path
        A folder.
    choice : Choice
    model_sha256 : str
        Of the network's file: a curve is continued for the same network alone.
    forest : Forest or None
    curve : bool

    Returns
    -------
    dict
        What ``edgeleuk calibrate --json`` prints.
    """
    fresh, seen = unseen(cells.cells, record)
    require_unseen(fresh, seen, record)
    require_both_classes(fresh, "checking a calibration set on held-out cells")
    chosen = choose(cells, seen, fresh, choice)
    with (
        progress_bar("reading the set") as bar,
        read_calibration(chosen.images, record.input, progress=bar) as tensors,
    ):
        card = prove(chosen, record.input, tensors)
        make_folder(out)
        quantizer = Quantizer(prepare_for_int8(network, record.input, record.output), tensors)
        say(f"  float and int8 TFLite, {len(chosen.images)} images ...")
        int8 = quantizer.build(TFLITE_MEMBER)
        held = select_balanced(fresh, HELD_OUT_IMAGES, seed=choice.seed).images
        say(f"  ranges: {len(chosen.images)} calibration images, {len(held)} held-out images ...")
        names = [relative_name(image.path, cells.folder) for image in chosen.images]
        checks = _check(quantizer, int8, names, held, cells.folder)
    results: tuple[SizeResult, ...] = ()
    if curve:
        of = HeldOut(quantizer.prepared, quantizer.reference, record, forest, fresh)
        results = _curve(quantizer, cells, seen, fresh, of, out / CURVE_FILE, choice, model_sha256)
    plot = calibration_figure(checks, results)
    text = ranges_text(checks) + (f"\n\n{curve_text(results)}" if results else "")
    replace_file(out / CARD_FILE, encode_calibration_record(card))
    ranges_json = msgspec.json.format(msgspec.json.encode(checks.to_json()), indent=1)
    replace_file(out / RANGES_FILE, ranges_json)
    replace_file(out / TEXT_FILE, (text + "\n").encode())
    replace_file(out / PLOT_FILE, plot)
    facts = checks.to_json()
    return {
        "schema_version": 1,
        "strategy": card.strategy,
        "seed": card.seed,
        "images": len(card.images),
        "subjects": len({image.subject for image in chosen.images}),
        "groups": len({image.group for image in chosen.images}),
        "tensors_sha256": card.tensors_sha256,
        "files": [
            str(out / name)
            for name in (CARD_FILE, RANGES_FILE, TEXT_FILE, PLOT_FILE, *([CURVE_FILE] if curve else []))
        ],
        "ranges": {key: value for key, value in facts.items() if key not in ("tensors", "extremes")}
        | {"tensors": len(checks.tensors)},
        "curve": [msgspec.to_builtins(result) for result in results],
        "recommended_images": recommended(results).images if results else None,
        "recommendation": recommendation(results) if results else None,
        "text": text,
    }


def calibration_text(result: dict[str, Any]) -> str:
    """Say what was chosen and what the checks found."""
    return (
        f"{result['files'][0]}: {result['images']} images, {result['strategy']}, of {result['subjects']}"
        f" subjects in {result['groups']} groups\n{result['text']}"
    )


def _check(
    quantizer: Quantizer,
    int8: bytes,
    names: Sequence[str],
    held: Sequence[LabelledCell],
    folder: Path,
) -> RangeChecks:
    """Compare the ranges of the int8 network with what the float network shows, image by image."""
    contract, reference = quantizer.prepared.input, quantizer.reference[REFERENCE_MEMBER]
    with silenced():
        matched = match_tensors(reference, int8)
        network = FloatTensors(reference)

    def of_set() -> Iterator[Observed]:
        for name, real in zip(names, RealInput(quantizer.tensors, contract), strict=True):
            yield name, network.of(real)

    def of_held_out() -> Iterator[Observed]:
        with progress_bar("held-out images") as bar:
            for done, cell in enumerate(held, start=1):
                tensor = to_tensor(read_crop(cell), contract)
                yield relative_name(cell.path, folder), network.of(RealInput(tensor[np.newaxis], contract)[:])
                bar(done, len(held))

    return check_ranges(matched.ranges, of_set(), of_held_out(), unmatched=matched.unmatched)


def _curve(
    quantizer: Quantizer,
    cells: CellSet,
    seen: Sequence[LabelledCell],
    fresh: Sequence[LabelledCell],
    held_out: HeldOut,
    path: Path,
    choice: Choice,
    model_sha256: str,
) -> tuple[SizeResult, ...]:
    """Measure every size that is not measured yet, and write each as soon as it is."""
    made_of = _made_of(model_sha256, choice, seen, fresh)
    curve = _read_curve(path, made_of)
    for asked in SIZES:
        if any(result.asked == asked for result in curve.sizes):
            continue
        chosen = choose(cells, seen, fresh, Choice(images=asked, strategy=choice.strategy, seed=choice.seed))
        images = len(chosen.images)
        # Where the folder has no more, the next sizes are this one again.
        if any(result.images == images for result in curve.sizes):
            continue
        say(f"  curve: {images} images ...")
        with read_calibration(chosen.images, quantizer.prepared.input) as tensors:
            of_size = Quantizer(quantizer.prepared, tensors, quantizer.reference)
            result = held_out.compare(of_size.build(TFLITE_MEMBER), asked=asked, images=images)
        curve = msgspec.structs.replace(curve, sizes=(*curve.sizes, result))
        replace_file(path, msgspec.json.format(msgspec.json.encode(curve), indent=1))
    return curve.sizes


def _read_curve(path: Path, made_of: str) -> Curve:
    """Read what an earlier command measured; nothing where it was of something else, or is damaged."""
    try:
        curve = msgspec.json.decode(path.read_bytes(), type=Curve)
    except FileNotFoundError:
        return Curve(made_of=made_of)
    except msgspec.DecodeError:
        say(f"{path} is damaged: measuring the curve anew")
        return Curve(made_of=made_of)
    if curve.made_of != made_of:
        say(f"{path} is of another network, folder or choice: measuring the curve anew")
        return Curve(made_of=made_of)
    if curve.sizes:
        say(f"  going on with {path}: {len(curve.sizes)} of {len(SIZES)} sizes are measured")
    return curve


def _made_of(
    model_sha256: str,
    choice: Choice,
    seen: Sequence[LabelledCell],
    fresh: Sequence[LabelledCell],
) -> str:
    """Hash all that a point of the curve depends on."""
    digest = hashlib.sha256(f"{model_sha256} {choice.strategy} {choice.seed} {tool_versions()}".encode())
    for side in (seen, fresh):
        digest.update("".join(sorted(f"{cell.sha256} {cell.label} {cell.group};" for cell in side)).encode())
    return digest.hexdigest()
