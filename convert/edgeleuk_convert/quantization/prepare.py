"""Make a Keras network ready for int8, in one place for `convert`, `--repair`, `calibrate` and the costs.

What int8 would suffer from is taken out or moved where it does no harm; float answers stay the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from edgeleuk.bundle.manifest import MODEL_FILES, SUPPORT
from edgeleuk.bundle.support_vectors import encode_support
from edgeleuk.classifier.classifier import open_networks
from edgeleuk_convert.environment import silenced
from edgeleuk_convert.networks.architectures.support_vectors import split_trunk_and_head
from edgeleuk_convert.quantization.batch_norm import with_convolved_norms
from edgeleuk_convert.quantization.bias_correction import (
    activation_of,
    last_layer,
    with_corrected_biases,
    with_unrolled_recurrence,
    without_activation,
    without_rescaling,
)
from edgeleuk_convert.quantization.calibration_data import answers, calibration_input
from edgeleuk_convert.quantization.onnx import OnnxCalibration, to_onnx_float32, to_onnx_int8
from edgeleuk_convert.quantization.tflite import to_tflite_float32, to_tflite_int8, with_features

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from edgeleuk.bundle.manifest import InputContract, OutputContract
    from edgeleuk.bundle.support_vectors import SupportVectors
    from edgeleuk_convert.quantization.calibration_data import ReachingInput, Tensors

REFERENCE = "reference"
REFERENCE_MEMBER = "model.float32.tflite"
TFLITE_MEMBER = "model.int8.tflite"
ONNX_MEMBER = "model.int8.onnx"
TENSORRT_MEMBER = "model.int8.tensorrt.onnx"


@dataclass(frozen=True, slots=True)
class PreparedNetwork:
    """A network made ready for int8, and what its numbers now stand for.

    Attributes
    ----------
    model : keras.Model
        Begins behind a rescaling and ends before a sigmoid or a softmax; with support vectors, at their map.
    input, output : InputContract, OutputContract
        Of `model`.
    support : SupportVectors or None
        What judges the map that `model` ends in.
    """

    model: Any
    input: InputContract
    output: OutputContract
    support: SupportVectors | None = None

    @property
    def beside(self) -> dict[str, bytes]:
        """Members that no network of the bundle can answer without."""
        return {} if self.support is None else {SUPPORT: encode_support(self.support)}

    def reference(self) -> dict[str, bytes]:
        """Make the float TFLite network; with what it cannot answer without."""
        with silenced():
            return {REFERENCE_MEMBER: to_tflite_float32(with_features(self.model)), **self.beside}


def prepare_for_int8(network: Any, contract: InputContract, output: OutputContract) -> PreparedNetwork:
    """Bring a Keras network to the form that is quantized.

    Parts it from its support vectors; takes a sigmoid or a softmax off its end; moves a rescaling at its
    start into the contract; turns batch norms behind an activation into convolutions; writes out the steps of
    recurrent layers.

    Parameters
    ----------
    network : keras.Model
        One image input, one output.
    contract, output : InputContract, OutputContract
        Of `network`.
    """
    model, support = split_trunk_and_head(network)
    model, output = without_activation(model, output)
    model, contract = without_rescaling(model, contract)
    model = with_unrolled_recurrence(with_convolved_norms(model))
    return PreparedNetwork(model, contract, output, support)


@dataclass(frozen=True)
class Quantizer:
    """Makes int8 files of a prepared network, all with one set of calibration images.

    Attributes
    ----------
    prepared : PreparedNetwork
    tensors : Tensors
        Calibration images: (n, H, W, C) uint8 or a `TensorStore` of them.
    given : mapping of str to bytes
        The float TFLite network that int8 is compared with, and what stands beside it, where they are made
        already.
    """

    prepared: PreparedNetwork
    tensors: Tensors
    given: Mapping[str, bytes] = field(default_factory=dict)

    @cached_property
    def real(self) -> ReachingInput:
        """The network's real input, (n, H, W, C) float32."""
        return calibration_input(self.tensors, self.prepared.input)

    @cached_property
    def reference(self) -> dict[str, bytes]:
        """The float TFLite network, with what it cannot answer without."""
        if REFERENCE_MEMBER in self.given:
            return subset(self.given, REFERENCE_MEMBER)
        return self.prepared.reference()

    @cached_property
    def corrected(self) -> Any:
        """The network that is rounded: its biases make up for what rounding adds to each channel."""
        with silenced():
            return with_corrected_biases(self.prepared.model, self.real)

    def with_model(self, model: Any) -> Quantizer:
        """Return the same for another network that answers as the prepared one does."""
        return Quantizer(replace(self.prepared, model=model), self.tensors)

    def build(
        self,
        member: str,
        *,
        onnx_calibration: OnnxCalibration = "minmax",
        io: Literal["int8", "uint8"] = "int8",
    ) -> bytes:
        """Make an int8 file as a conversion does.

        Parameters
        ----------
        member : str
            ``model.int8.tflite``, ``model.int8.onnx`` or ``model.int8.tensorrt.onnx``.
        onnx_calibration : str
            How ranges of ONNX networks come from values.
        io : str
            What a TFLite network takes and gives.
        """

        def quantize(model: Any) -> bytes:
            if member == TFLITE_MEMBER:
                return to_tflite_int8(with_features(model), self.real, io=io)
            return to_onnx_int8(
                to_onnx_float32(with_features(model)),
                self.real,
                calibration=onnx_calibration,
                tensorrt=member == TENSORRT_MEMBER,
            )

        return self.build_with(member, quantize)

    def build_with(self, member: str, quantize: Callable[[Any], bytes]) -> bytes:
        """Quantize with the mean error of the logits taken out of the last bias, where there is one.

        Rounding errors do not average out over a network; on average they move the logit. Source: Nagel et
        al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019, section 4.2,
        with the error measured on the calibration images and corrected in the last layer alone.

        Parameters
        ----------
        member : str
            Tells what runs the file.
        quantize : callable
            Makes the file of a keras.Model.
        """
        with silenced():
            model = self.corrected
            first = quantize(model)
            last = last_layer(model)
            bare = getattr(last, "use_bias", False) and activation_of(last) == "linear"
            if (
                self.prepared.output.kind not in ("logit", "logits", "sigmoids")
                or not bare
                or last.output.ndim != 2
            ):
                return first
            with open_networks({**self.reference, member: first}, self.prepared.input) as networks:
                outputs = {key: answers(network, self.tensors) for key, network in networks.items()}
            error = (outputs[MODEL_FILES[member].key] - outputs[REFERENCE]).mean(axis=0)
            bias = last.bias.numpy()
            last.bias.assign(bias - error)
            try:
                return quantize(model)
            finally:
                last.bias.assign(bias)


def subset(networks: Mapping[str, bytes], *names: str) -> dict[str, bytes]:
    """Return some networks of many, with what they cannot answer without."""
    return {name: networks[name] for name in (*names, SUPPORT) if name in networks}
