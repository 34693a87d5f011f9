"""ONNX and float TFLite models through OpenVINO on the processor."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeleuk.bundle.contracts import Answer
from edgeleuk.errors import BundleError, MissingDependencyError
from edgeleuk.inference.quantization import look_up, real_table
from edgeleuk.inference.runtime import RUNTIMES, output_roles
from edgeleuk.io.closing import Closing

if TYPE_CHECKING:
    import numpy.typing as npt

    from edgeleuk.bundle.manifest import InputContract

# Left to itself, OpenVINO takes bfloat16 or float16 for float layers where the processor has them, and ties
# threads to cores that the camera and the segmentation use as well.
_CONFIG = {
    "INFERENCE_PRECISION_HINT": "f32",
    "PERFORMANCE_HINT": "LATENCY",
    "NUM_STREAMS": 1,
    "ENABLE_CPU_PINNING": False,
}
_TFLITE_MARK = slice(4, 8), b"TFL3"


class OpenVinoRuntime(Closing):
    """A network with a batch of one, compiled for the processor: no other device is ever taken.

    Parameters
    ----------
    model : bytes
        ONNX, or TFLite with float numbers.
    contract : InputContract
    threads : int

    Raises
    ------
    MissingDependencyError
        OpenVINO cannot be loaded.
    BundleError
        It cannot read the network, the input has another shape than the contract's, or the outputs cannot be
        told apart.
    """

    name = "openvino"

    def __init__(self, model: bytes, contract: InputContract, *, threads: int = 1) -> None:
        core = _module().Core()
        try:
            network = _read(core, model)
            source = network.input(0)
            shape = tuple(size.get_length() for size in list(source.partial_shape)[1:])
        except RuntimeError as error:
            raise BundleError("the model cannot be loaded by OpenVINO", got=_reason(error)) from error
        if shape != contract.shape:
            raise BundleError(
                "the model's input does not fit the manifest",
                got=("n", *shape),
                allowed=("n", *contract.shape),
            )
        try:
            network.reshape([1, *contract.shape])
            compiled = core.compile_model(network, "CPU", {**_CONFIG, "INFERENCE_NUM_THREADS": threads})
        except RuntimeError as error:
            raise BundleError("the model cannot be compiled by OpenVINO", got=_reason(error)) from error
        widths = [int(sink.shape[-1]) for sink in compiled.outputs]
        self._sinks = [(index, widths[index]) for index in output_roles(widths) if index is not None]
        self._request = compiled.create_infer_request()
        self._table = real_table(contract.scale, contract.offset)

    def predict(self, tensors: npt.NDArray[np.uint8]) -> Answer:
        """Run the network on each tensor in turn; see `ModelRuntime.predict`."""
        found = [np.empty((len(tensors), width), np.float32) for _, width in self._sinks]
        for row, tensor in enumerate(tensors):
            self._request.get_input_tensor().data[0] = look_up(self._table, tensor)
            self._request.infer()
            for values, (index, _) in zip(found, self._sinks, strict=True):
                # Its memory is written over by the next cell.
                values[row] = self._request.get_output_tensor(index).data.ravel()
        return Answer(*found)

    def close(self) -> None:
        """Free the network."""
        self._request = None


def _module() -> Any:
    # Importing it writes a number for this user into the home folder, to be sent to a server with what is
    # done. Without that package OpenVINO takes a stand-in of its own that does nothing.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        return importlib.import_module("openvino")
    except ImportError as error:
        raise MissingDependencyError(
            "OpenVINO cannot be imported", got=str(error).splitlines()[0], cure=RUNTIMES["openvino"].cure
        ) from error


def _read(core: Any, model: bytes) -> Any:
    place, mark = _TFLITE_MARK
    if model[place] != mark:
        return core.read_model(model)
    # TFLite is read from files alone.
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        path.write_bytes(model)
        return core.read_model(path)


def _reason(error: RuntimeError) -> str:
    """Return the last line of an error that does not name a place in OpenVINO's own code."""
    lines = [line.strip() for line in str(error).splitlines()]
    told = [line for line in lines if line and not line.startswith(("Exception from ", "Check "))]
    return told[-1] if told else "no reason"
