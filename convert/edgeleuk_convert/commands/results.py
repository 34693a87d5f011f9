"""What the workstation's commands return, and print with ``--json``."""

from __future__ import annotations

from typing import Any

from edgeleuk.results.structs import Printed
from edgeleuk_convert.quantization.agreement import Agreement  # noqa: TC001 - msgspec looks at it


class ConversionResult(Printed, frozen=True, kw_only=True):
    """What a conversion wrote, and what it is worth.

    Attributes
    ----------
    bundle : str
        The file; ``NAME.rejected.edgeleuk`` where the networks fail the limits.
    stamp : str or None
        What has to be said wherever its figures stand.
    size_bytes, calibration_images : int
    networks : tuple of Agreement
    float_onnx_bytes : int
        Of the float network as ONNX, which is not in the bundle.
    onnx_calibration : str
    also : dict of str to str
        Further TFLite files, by their kind.
    audit : list of dict
        What each file was found to hold.
    validation : dict
        As ``edgeleuk validate --json`` prints it, and what the conversion adds.
    """

    schema_version: int = 1
    bundle: str
    stamp: str | None
    size_bytes: int
    calibration_images: int
    networks: tuple[Agreement, ...]
    float_onnx_bytes: int
    onnx_calibration: str
    also: dict[str, str]
    audit: list[dict[str, Any]]
    validation: dict[str, Any]

    @property
    def verdict(self) -> str:
        """``pass``, ``fail`` or ``undecided``."""
        return str(self.validation["verdict"])
