"""ONNX models through ONNX Runtime on the CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgeleuk.bundle.contracts import Answer
from edgeleuk.errors import BundleError, EdgeleukError
from edgeleuk.inference.onnx_session import open_session
from edgeleuk.inference.quantization import look_up, real_table
from edgeleuk.inference.runtime import output_roles
from edgeleuk.io.closing import Closing

if TYPE_CHECKING:
    import numpy.typing as npt

    from edgeleuk.bundle.manifest import InputContract

# A batch bounds the memory of one call; larger ones gain nothing on a CPU.
BATCH = 16


class OnnxRuntime(Closing):
    """An ONNX network with a free batch dimension and a float32 input.

    Parameters
    ----------
    model : bytes
    contract : InputContract
    threads : int

    Raises
    ------
    BundleError
        The bytes are no ONNX model, its input has another shape than the contract's, or its outputs
        cannot be told apart.
    """

    name = "onnxruntime"

    def __init__(self, model: bytes, contract: InputContract, *, threads: int = 1) -> None:
        try:
            self._session: Any = self.open_session(model, threads)
        except EdgeleukError:
            raise
        except Exception as error:  # its exceptions share no public base class
            raise BundleError("the ONNX model cannot be loaded", got=str(error).splitlines()[0]) from error
        source = self._session.get_inputs()[0]
        if tuple(source.shape[1:]) != contract.shape:
            raise BundleError(
                "the model's input does not fit the manifest",
                got=tuple(source.shape),
                allowed=("n", *contract.shape),
            )
        self._input = source.name
        sinks = self._session.get_outputs()
        answer, features = output_roles([int(sink.shape[-1]) for sink in sinks])
        self._sinks = [sinks[index] for index in (answer, features) if index is not None]
        self._table = real_table(contract.scale, contract.offset)

    def open_session(self, model: bytes, threads: int) -> Any:
        """Open the session of the processor."""
        return open_session(model, threads=threads)

    def predict(self, tensors: npt.NDArray[np.uint8]) -> Answer:
        """Run the network on the tensors in batches; see `ModelRuntime.predict`."""
        names = [sink.name for sink in self._sinks]
        batches = [
            self._session.run(names, {self._input: look_up(self._table, tensors[start : start + BATCH])})
            for start in range(0, len(tensors), BATCH)
        ]
        return Answer(
            *(
                np.concatenate(
                    [np.empty((0, sink.shape[-1]), np.float32), *(batch[index] for batch in batches)]
                )
                for index, sink in enumerate(self._sinks)
            )
        )

    def close(self) -> None:
        """Free the session."""
        self._session = None
