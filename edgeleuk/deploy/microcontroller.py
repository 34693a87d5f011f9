"""What of a bundle goes to a microcontroller: the int8 TFLite network, golden cells and all constants.

As plain values: the firmware bridge knows no bundle and writes C of them; the command line hands them over.
"""

from __future__ import annotations

import importlib.metadata
from typing import TYPE_CHECKING

import numpy as np

from edgeleuk.bundle.acceptance import refuse_rejected
from edgeleuk.bundle.golden import decode_golden
from edgeleuk.bundle.manifest import GOLDEN
from edgeleuk.deploy.deployment import Constant, Deployment, GoldenCell
from edgeleuk.deploy.judge import Judge
from edgeleuk.errors import BundleError, UsageError
from edgeleuk.inference.litert import LiteRtRuntime, ReferenceLiteRtRuntime
from edgeleuk.inference.preprocessing import LEAST_STD, NORMAL_MEAN, NORMAL_STD
from edgeleuk.inference.runtime import RUNTIMES, output_roles

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from edgeleuk.bundle.contents import Bundle
    from edgeleuk.bundle.manifest import Manifest
    from edgeleuk.deploy.deployment import Beside
    from edgeleuk.inference.pooled import MapGeometry
    from edgeleuk.inference.quantization import Scales

    Raw = list[npt.NDArray[np.generic]]

MODEL = "model.int8.tflite"
# Nobody needs more on a board, and each takes the room of an input tensor.
MOST_GOLDEN = 64


def deployed_model(bundle: Bundle) -> bytes:
    """Return the network that goes to a microcontroller.

    Raises
    ------
    GateFailedError
        The bundle was rejected when it was made.
    """
    refuse_rejected(bundle)
    return bundle.members[MODEL]


def beside_network(bundle: Bundle, widths: Sequence[int]) -> Beside:
    """Tell what a firmware needs beside the network to make a call.

    Parameters
    ----------
    bundle : Bundle
    widths : sequence of int
        Of the network's outputs: the length of each one's last axis.

    Raises
    ------
    UsageError
        The contract asks for what the firmware's sources do not do.
    BundleError
        Its members do not fit each other.
    """
    _refuse_what_firmware_lacks(bundle.manifest)
    return Judge.of(bundle).beside(widths)


def deployment_of(bundle: Bundle, golden: int) -> Deployment:
    """Take out of a bundle what the firmware needs, and run the golden cells through the reference kernels.

    Parameters
    ----------
    bundle : Bundle
    golden : int
        How many golden cells; all that there are, if these are fewer.

    Raises
    ------
    UsageError
        `golden` is out of range, or the contract asks for what the firmware's sources do not do.
    GateFailedError
        The bundle was rejected when it was made.
    BundleError
        Its members do not fit each other.
    MissingDependencyError
        LiteRT is not installed.
    """
    if not 1 <= golden <= MOST_GOLDEN:
        raise UsageError(
            "the number of golden cells is out of range", got=golden, allowed=f"1 to {MOST_GOLDEN}"
        )
    model, manifest = deployed_model(bundle), bundle.manifest
    _refuse_what_firmware_lacks(manifest)
    judge = Judge.of(bundle)
    tensors = _golden_tensors(bundle)[:golden]
    numbers = judge.drawn_numbers(len(tensors))
    with ReferenceLiteRtRuntime(model, manifest.input) as slow, LiteRtRuntime(model, manifest.input) as fast:
        table = slow.as_fed(np.arange(256, dtype=np.uint8))
        fed = [slow.as_fed(tensors[index : index + 1]) for index in range(len(tensors))]
        answers = [slow.raw_outputs(one) for one in fed]
        steps = max(_steps(slow, fast.raw_outputs(one)) for one, slow in zip(fed, answers, strict=True))
        widths = [answer.shape[-1] for answer in answers[0]]
        beside, geometry = judge.beside(widths), judge.geometry(widths)
        odds, distances = judge.judged(slow, geometry, tensors, numbers)
        moved = np.abs(odds - judge.judged(fast, geometry, tensors, numbers)[0])
    cells = tuple(
        GoldenCell(
            tensor.tobytes(),
            tuple(output.tobytes() for output in outputs),
            tuple(row.tolist()),
            float(of),
            float(distance),
        )
        for tensor, outputs, row, of, distance in zip(tensors, answers, numbers, odds, distances, strict=True)
    )
    return Deployment(
        manifest.name,
        bundle.sha256,
        manifest.intended_use,
        manifest.licence,
        model,
        beside,
        tuple(int(value) for value in table),
        contract_constants(manifest),
        _meanings(widths, manifest, geometry),
        _left_over(judge),
        cells,
        f"the reference kernels of {_litert()}",
        steps,
        float(moved.max()),
    )


def _golden_tensors(bundle: Bundle) -> npt.NDArray[np.uint8]:
    tensors, shape = decode_golden(bundle.members[GOLDEN]).tensors, bundle.manifest.input.shape
    if tensors.dtype != np.uint8 or tensors.shape[1:] != shape or not len(tensors):
        raise BundleError(
            f"the golden cells of {bundle.path.name} do not fit its network",
            got=f"{tensors.shape} {tensors.dtype}",
            allowed=f"(n, {', '.join(map(str, shape))}) uint8",
            cure="convert the network again",
        )
    return tensors


def _steps(slow: Raw, fast: Raw) -> int:
    return max(
        int(np.abs(ours.astype(np.int64) - theirs.astype(np.int64)).max())
        for ours, theirs in zip(slow, fast, strict=True)
    )


def _litert() -> str:
    for module in RUNTIMES["litert"].modules:
        try:
            return f"{module.replace('_', '-')} {importlib.metadata.version(module)}"
        except importlib.metadata.PackageNotFoundError:
            continue
    return "LiteRT"


def _refuse_what_firmware_lacks(manifest: Manifest) -> None:
    contract, output = manifest.input, manifest.output
    for fits, title, got, allowed in (
        (contract.framing == "centred", "input.framing", contract.framing, "centred"),
        (isinstance(contract.scale, float), "input.scale", "one for each channel", "one for all channels"),
        (isinstance(contract.offset, float), "input.offset", "one for each channel", "one for all channels"),
        (output.kind != "sigmoids", "output.kind", output.kind, "logit, probability, logits, softmax"),
        (len(output.positive_indices) == 1, "output.positive", output.positive_label, "one class"),
    ):
        if not fits:
            raise UsageError(
                f"{title} of the bundle is not supported on microcontrollers",
                got=got,
                allowed=allowed,
                cure="train a network on centred cells with `edgeleuk train`",
            )


def _of_all_channels(value: Scales) -> float:
    assert isinstance(value, float)
    return value


def contract_constants(manifest: Manifest) -> tuple[Constant, ...]:
    """Return how a cell becomes the input tensor, and how a call is made of a probability."""
    return (*_input_constants(manifest), *_decision_constants(manifest))


def _input_constants(manifest: Manifest) -> tuple[Constant, ...]:
    contract, area = manifest.input, manifest.envelope.area_um2
    rim_px = round(contract.rim_um * contract.px_per_um)
    constants = [
        Constant("INPUT_HEIGHT", contract.height, "of the tensor, in pixels"),
        Constant("INPUT_WIDTH", contract.width, "of the tensor, in pixels"),
        Constant("INPUT_CHANNELS", len(contract.channels), "numbers of a pixel, side by side"),
        Constant("CHANNEL_NAMES", ",".join(contract.channels), "what each holds"),
        Constant("PX_PER_UM", contract.px_per_um, "scale that a cell is resized to"),
        Constant("RESIZE", contract.resize, "halve while it is twice too large, then one bilinear step"),
        Constant("CENTRING", contract.centring, "what is put in the middle of the tensor"),
        Constant("RIM_PX", rim_px, "taken off the cell all around, at that scale"),
        Constant("NORMALISE", int(contract.normalise), "1: bring each colour to this mean and spread"),
        Constant("NORMAL_MEAN", NORMAL_MEAN, "within the cell"),
        Constant("NORMAL_STD", NORMAL_STD, "within the cell"),
        Constant("LEAST_STD", LEAST_STD, "a spread below this counts as this"),
        Constant("OUTSIDE", NORMAL_MEAN if contract.normalise else 0, "colour around the cell"),
        Constant("BYTE_SCALE", _of_all_channels(contract.scale), "real input = byte * scale + offset"),
        Constant("BYTE_OFFSET", _of_all_channels(contract.offset), "the same"),
        Constant("AREA_UM2_LOW", area[0], "a cell outside these is uncertain"),
        Constant("AREA_UM2_HIGH", area[1], "the same"),
    ]
    if manifest.gate is not None:
        looks = manifest.gate.appearance
        for name in looks.__struct_fields__:
            for end, value in zip(("LOW", "HIGH"), getattr(looks, name), strict=True):
                constants.append(Constant(f"{name.upper()}_{end}", value, "a cell outside is uncertain"))
    return tuple(constants)


def _decision_constants(manifest: Manifest) -> tuple[Constant, ...]:
    output = manifest.output
    return (
        Constant("OUTPUT_KIND", output.kind, "what the answer is"),
        Constant("LABELS", ",".join(output.labels), "classes, in order"),
        Constant("POSITIVE_INDEX", output.positive_indices[0], "the class whose probability counts"),
        Constant("TEMPERATURE", output.temperature, "divides the log odds"),
        Constant("FOREST_WEIGHT", output.forest_weight, "of the forest's log odds; 0 without one"),
        Constant("BIAS", output.bias, "added after both"),
        Constant("THRESHOLD", output.threshold, "positive from this probability on"),
        Constant("ABSTAIN_LOW", output.abstain[0], "uncertain strictly between these"),
        Constant("ABSTAIN_HIGH", output.abstain[1], "the same"),
    )


def _meanings(widths: list[int], manifest: Manifest, geometry: MapGeometry | None) -> tuple[str, ...]:
    if geometry is not None:
        answer = (
            f"a map of {geometry.rows} x {geometry.columns} places with {geometry.channels} channels each"
        )
    else:
        answer = f"the answer: {manifest.output.kind} ({', '.join(manifest.output.labels)})"
    meanings = ["features that the last layer sees, for the gate"] * len(widths)
    meanings[output_roles(widths)[0]] = answer
    return tuple(meanings)


def _left_over(judge: Judge) -> tuple[str, ...]:
    manifest, steps = judge.manifest, []
    if judge.kind_bytes and manifest.kind is not None:
        steps.append(
            f"name the kind, of {len(manifest.kind.kinds)}, by the head for kinds, which is not exported;"
            " what is not lymphoid is no more judged"
        )
    if judge.numbers:
        alone = "a network that was trained with `forest = false` needs none, and is calibrated alone"
        steps.append(
            f"measure the {judge.numbers} hand-crafted features of the cell, as"
            " edgeleuk/classifier/cell_features.py does, for edgeleuk_judge; "
            + (alone if judge.blast is None else "a head that was taught always judges them")
        )
    if manifest.gate is not None:
        steps.append(
            "measure colours and sharpness before they are normalised, as edgeleuk/classifier/appearance.py"
            " does; a cell outside the limits is uncertain"
        )
    return ("make the input tensor of a cell, as edgeleuk/inference/preprocessing.py does", *steps)
