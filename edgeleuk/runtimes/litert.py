"""TensorFlow Lite models through LiteRT, or through the older tflite-runtime where that is installed."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeleuk.errors import BundleError, MissingDependencyError
from edgeleuk.quantization import Affine, byte_table, dequantize
from edgeleuk.runtimes.base import RUNTIMES

if TYPE_CHECKING:
    import numpy.typing as npt

    from edgeleuk.bundle.manifest import InputContract


class LiteRtRuntime:
    """A TFLite network with a batch of one.

    Parameters
    ----------
    model : bytes
        The flatbuffer.
    contract : InputContract
    threads : int

    Raises
    ------
    MissingDependencyError
        No interpreter could be built.
    BundleError
        The bytes are no TFLite model, or its input has another shape than the contract's.
    """

    name = "litert"

    def __init__(self, model: bytes, contract: InputContract, *, threads: int = 1) -> None:
        try:
            # tflite-runtime imports under numpy 2 and fails only here, so build one to know.
            self._interpreter: Any = _interpreter_class()(model_content=model, num_threads=threads)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise BundleError("the TFLite model cannot be loaded", got=str(error).splitlines()[0]) from error
        source = self._interpreter.get_input_details()[0]
        sink = self._interpreter.get_output_details()[0]
        if tuple(source["shape"]) != (1, *contract.shape):
            raise BundleError(
                "the model's input does not fit the manifest",
                got=tuple(int(n) for n in source["shape"]),
                allowed=(1, *contract.shape),
            )
        self._input, self._output = source["index"], sink["index"]
        self._width = int(sink["shape"][-1])
        self._output_affine = _affine(sink)
        affine = _affine(source)
        self._table = (
            byte_table(affine, scale=contract.scale, offset=contract.offset)
            if affine
            else (np.arange(256) * contract.scale + contract.offset).astype(np.float32)
        )
        # The usual case: byte 0 is -128. Flipping the top bit is a view away from free.
        self._is_flip = affine is not None and np.array_equal(self._table, np.arange(-128, 128))

    def predict(self, tensors: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Run the network on each tensor in turn.

        Parameters
        ----------
        tensors : (n, H, W, C) uint8

        Returns
        -------
        (n, K) float32
        """
        values = (tensors ^ np.uint8(0x80)).view(np.int8) if self._is_flip else self._table[tensors]
        raw = []
        for index in range(len(values)):
            self._interpreter.set_tensor(self._input, values[index : index + 1])
            self._interpreter.invoke()
            raw.append(self._interpreter.get_tensor(self._output)[0])
        outputs = np.array(raw).reshape(len(raw), self._width)
        if self._output_affine is None:
            return outputs.astype(np.float32)
        return dequantize(outputs, self._output_affine)

    def close(self) -> None:
        """Free the interpreter."""
        self._interpreter = None


def _interpreter_class() -> Any:
    for module in RUNTIMES["litert"].modules:
        try:
            return importlib.import_module(f"{module}.interpreter").Interpreter
        except ImportError as error:
            reason = str(error)
    raise MissingDependencyError(
        "no TFLite interpreter can be imported",
        got=reason,
        cure=f"install it with: {RUNTIMES['litert'].install}",
    )


def _affine(details: dict[str, Any]) -> Affine | None:
    scale, zero_point = details["quantization"]
    return Affine(float(scale), int(zero_point), np.dtype(details["dtype"]).name) if scale else None
