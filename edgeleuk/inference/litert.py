"""TensorFlow Lite models through LiteRT, or through the older tflite-runtime where that is installed."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeleuk.bundle.contracts import Answer
from edgeleuk.errors import BundleError, MissingDependencyError
from edgeleuk.inference.quantization import Affine, byte_table, dequantize, look_up, real_table
from edgeleuk.inference.runtime import RUNTIMES, output_roles
from edgeleuk.inference.start_notices import quiet_start
from edgeleuk.io.closing import Closing

if TYPE_CHECKING:
    import numpy.typing as npt

    from edgeleuk.bundle.manifest import InputContract


class LiteRtRuntime(Closing):
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
        The bytes are no TFLite model, its input has another shape than the contract's, or its outputs
        cannot be told apart.
    """

    name = "litert"

    def __init__(self, model: bytes, contract: InputContract, *, threads: int = 1) -> None:
        try:
            # tflite-runtime imports under numpy 2 and fails only here, so build one to know.
            with quiet_start():
                self._interpreter = self.open_interpreter(model, threads)
                self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise BundleError("the TFLite model cannot be loaded", got=str(error).splitlines()[0]) from error
        source = self._interpreter.get_input_details()[0]
        if tuple(source["shape"]) != (1, *contract.shape):
            raise BundleError(
                "the model's input does not fit the manifest",
                got=tuple(int(n) for n in source["shape"]),
                allowed=(1, *contract.shape),
            )
        self._input = source["index"]
        sinks = self._interpreter.get_output_details()
        answer, features = output_roles([int(sink["shape"][-1]) for sink in sinks])
        self._answer = _Sink(sinks[answer])
        self._features = None if features is None else _Sink(sinks[features])
        affine = _affine(source)
        self._table = (
            byte_table(affine, scale=contract.scale, offset=contract.offset)
            if affine
            else real_table(contract.scale, contract.offset)
        )
        # The usual case: byte 0 is -128. Flipping the top bit is a view away from free.
        self._is_flip = affine is not None and np.array_equal(self._table, np.arange(-128, 128))

    def open_interpreter(self, model: bytes, threads: int) -> Any:
        """Build the interpreter of whichever package is installed."""
        return _interpreter_module().Interpreter(model_content=model, num_threads=threads)

    def predict(self, tensors: npt.NDArray[np.uint8]) -> Answer:
        """Run the network on each tensor in turn; see `ModelRuntime.predict`."""
        sinks = [self._answer] if self._features is None else [self._answer, self._features]
        raw: list[list[npt.NDArray[np.generic]]] = [[] for _ in sinks]
        # One at a time: of many cells, floats would fill the memory.
        for index in range(len(tensors)):
            self._feed(tensors[index : index + 1])
            self._invoke()
            for sink, rows in zip(sinks, raw, strict=True):
                rows.append(self._interpreter.get_tensor(sink.index)[0])
        return Answer(*(sink.real(rows) for sink, rows in zip(sinks, raw, strict=True)))

    def as_fed(self, tensors: npt.NDArray[np.uint8]) -> npt.NDArray[np.generic]:
        """Return what the network's input tensor is given for (n, H, W, C) uint8 tensors."""
        return (tensors ^ np.uint8(0x80)).view(np.int8) if self._is_flip else look_up(self._table, tensors)

    def raw_outputs(self, fed: npt.NDArray[np.generic]) -> list[npt.NDArray[np.generic]]:
        """Run the network on one (1, H, W, C) tensor as fed; return its outputs in the file's order."""
        self._interpreter.set_tensor(self._input, fed)
        self._invoke()
        sinks = self._interpreter.get_output_details()
        return [self._interpreter.get_tensor(sink["index"]) for sink in sinks]

    def close(self) -> None:
        """Free the interpreter."""
        self._interpreter = None

    def _feed(self, tensors: npt.NDArray[np.uint8]) -> None:
        if self._is_flip:
            # Into the interpreter's own memory; the view must be gone when it runs.
            own = self._interpreter.tensor(self._input)().view(np.uint8)
            np.bitwise_xor(tensors, np.uint8(0x80), out=own)
        else:
            self._interpreter.set_tensor(self._input, self.as_fed(tensors))

    def _invoke(self) -> None:
        try:
            self._interpreter.invoke()
        except RuntimeError as error:
            # XNNPACK looks at a network only when it is first run.
            raise BundleError("the TFLite model cannot be run", got=str(error).splitlines()[0]) from error


class ReferenceLiteRtRuntime(LiteRtRuntime):
    """The same with the reference kernels, which TFLite Micro has too: slow, and equal on every processor."""

    name = "litert-reference"

    def open_interpreter(self, model: bytes, threads: int) -> Any:
        """Build an interpreter without any of the fast kernels."""
        module = _interpreter_module()
        return module.Interpreter(
            model_content=model,
            num_threads=threads,
            experimental_op_resolver_type=module.OpResolverType.BUILTIN_REF,
        )


class _Sink:
    """One output of the network: where it is, how wide, and what its integers mean."""

    def __init__(self, details: dict[str, Any]) -> None:
        self.index = details["index"]
        self._width = int(details["shape"][-1])
        self._affine = _affine(details)

    def real(self, rows: list[npt.NDArray[np.generic]]) -> npt.NDArray[np.float32]:
        """Stack rows into (n, width) real numbers."""
        values = np.array(rows).reshape(len(rows), self._width)
        return values.astype(np.float32) if self._affine is None else dequantize(values, self._affine)


def _interpreter_module() -> Any:
    for module in RUNTIMES["litert"].modules:
        try:
            return importlib.import_module(f"{module}.interpreter")
        except ImportError as error:
            reason = str(error)
    raise MissingDependencyError(
        "no TFLite interpreter can be imported",
        got=reason,
        cure=RUNTIMES["litert"].cure,
    )


def _affine(details: dict[str, Any]) -> Affine | None:
    scale, zero_point = details["quantization"]
    try:
        return Affine(float(scale), int(zero_point), np.dtype(details["dtype"]).name) if scale else None
    except ValueError as error:
        raise BundleError("the TFLite model's quantization cannot be used", got=str(error)) from error
