"""What a conversion is asked for, and what it gives."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeleuk.bundle.forest import Forest
    from edgeleuk.bundle.manifest import InputContract, OutputContract
    from edgeleuk_convert.quantization.agreement import Agreement
    from edgeleuk_convert.quantization.audit import NetworkAudit
    from edgeleuk_convert.quantization.onnx import OnnxCalibration
    from edgeleuk_convert.quantization.prepare import PreparedNetwork
    from edgeleuk_convert.training.record import TrainingRecord


@dataclass(frozen=True, slots=True)
class Recipe:
    """How the ONNX networks are calibrated, and what is made besides what every bundle holds."""

    onnx_calibration: OnnxCalibration = "minmax"
    tensorrt: bool = False
    also: tuple[Also, ...] = ()


@dataclass(frozen=True, slots=True)
class ParentNetwork:
    """What is known of the float network that a bundle is made of.

    Attributes
    ----------
    sha256 : str
        Of its file.
    record : TrainingRecord
    forest : Forest or None
        That has its say beside the network, where one was trained.
    """

    sha256: str
    record: TrainingRecord
    forest: Forest | None = None


@dataclass(frozen=True, slots=True)
class Converted:
    """What a conversion gave.

    Attributes
    ----------
    prepared : PreparedNetwork
        That they were made of.
    networks : mapping of str to bytes
        By member name; with the support vectors that judge them all, where there are some.
    float_onnx_bytes : int
    agreements : tuple of Agreement
        How each network agrees with Keras.
    audits : tuple of NetworkAudit
        What each file was found to hold; those of `also` too.
    also : mapping of str to bytes
        Further TFLite files, by what they are.
    """

    prepared: PreparedNetwork
    networks: Mapping[str, bytes]
    float_onnx_bytes: int
    agreements: tuple[Agreement, ...]
    audits: tuple[NetworkAudit, ...] = ()
    also: Mapping[Also, bytes] = field(default_factory=dict)

    @property
    def input(self) -> InputContract:
        """How bytes become the networks' input."""
        return self.prepared.input

    @property
    def output(self) -> OutputContract:
        """What the networks answer."""
        return self.prepared.output


# Further TFLite files, which stand beside the bundle.
Also = Literal["float16", "dynamic", "int16x8", "uint8-io"]
