"""The protocol that every runtime keeps, and the table that finds them."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from edgeleuk.errors import BundleError, MissingDependencyError, UsageError, extra_cure
from edgeleuk.io.closing import Closing

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

    from edgeleuk.bundle.contracts import Answer
    from edgeleuk.bundle.manifest import InputContract


class ModelRuntime(Closing, Protocol):
    """A network, loaded and ready; closed at the end of a ``with`` block."""

    name: str

    def predict(self, tensors: npt.NDArray[np.uint8]) -> Answer:
        """Run the network on (n, H, W, C) uint8 tensors."""
        ...

    def close(self) -> None:
        """Free the network; more than once does no harm."""
        ...


class RuntimeEntry(NamedTuple):
    """Where a runtime lives and what brings it.

    Attributes
    ----------
    target : str
        ``module:Class``.
    modules : tuple of str
        Packages, of which one has to be installed.
    cure : str
        What to do where none is.
    library : str or None
        File of an execution provider within the package: only some of its wheels bring it.
    """

    target: str
    modules: tuple[str, ...]
    cure: str
    library: str | None = None


# No extra: the wheels for processors and for GPUs are one package, onnxruntime, and overwrite each other.
GPU_CURE = (
    "install ONNX Runtime's wheel for this board's CUDA in place of onnxruntime (docs/runtimes.md), or pass"
    " --runtime auto"
)
# litert comes first in `modules` from its successor package, else from tflite-runtime.
RUNTIMES: dict[str, RuntimeEntry] = {
    "litert": RuntimeEntry(
        "edgeleuk.inference.litert:LiteRtRuntime",
        ("ai_edge_litert", "tflite_runtime"),
        "install it with: pip install ai-edge-litert",
    ),
    "onnxruntime": RuntimeEntry(
        "edgeleuk.inference.onnxruntime:OnnxRuntime",
        ("onnxruntime",),
        f"install it with: {extra_cure('onnx')}",
    ),
    "openvino": RuntimeEntry(
        "edgeleuk.inference.openvino:OpenVinoRuntime",
        ("openvino",),
        f"install it with: {extra_cure('openvino')}",
    ),
    "cuda": RuntimeEntry(
        "edgeleuk.inference.providers:CudaRuntime",
        ("onnxruntime",),
        GPU_CURE,
        "libonnxruntime_providers_cuda.so",
    ),
    "tensorrt": RuntimeEntry(
        "edgeleuk.inference.providers:TensorRtRuntime",
        ("onnxruntime",),
        GPU_CURE,
        "libonnxruntime_providers_tensorrt.so",
    ),
}


def available_runtimes() -> tuple[str, ...]:
    """Names of the runtimes whose package is installed; of providers, with the provider in it."""
    return tuple(name for name, entry in RUNTIMES.items() if _found(entry))


def obstacle(name: str) -> MissingDependencyError | None:
    """Return why a runtime of `RUNTIMES` cannot be run here, as far as files tell; nothing is imported."""
    entry = RUNTIMES[name]
    if _found(entry):
        return None
    built_without = entry.library is not None and _found(entry._replace(library=None))
    return MissingDependencyError(
        f"the runtime {name} is not installed",
        got=f"an {entry.modules[0]} without {entry.library}" if built_without else None,
        allowed=", ".join(available_runtimes()) or "none",
        cure=entry.cure,
    )


def _found(entry: RuntimeEntry) -> bool:
    specs = [spec for module in entry.modules if (spec := importlib.util.find_spec(module))]
    if not specs or entry.library is None:
        return bool(specs)
    places = specs[0].submodule_search_locations or ()
    return any((Path(place) / "capi" / entry.library).is_file() for place in places)


def require_runtime(name: str) -> None:
    """Refuse a runtime that cannot be run here.

    Raises
    ------
    UsageError
        `name` is unknown.
    MissingDependencyError
        Its package is not installed, or lacks the provider.
    """
    if name not in RUNTIMES:
        raise UsageError("unknown runtime", got=name, allowed=", ".join(RUNTIMES))
    if (error := obstacle(name)) is not None:
        raise error


def open_runtime(name: str, model: bytes, contract: InputContract, *, threads: int = 1) -> ModelRuntime:
    """Load a network.

    Parameters
    ----------
    name : str
        A key of `RUNTIMES`.
    model : bytes
        The model file.
    contract : InputContract
    threads : int

    Raises
    ------
    UsageError
        `name` is unknown, or `threads` is not from 1 to 64.
    MissingDependencyError
        The runtime's package is not installed, or its provider cannot run here.
    """
    if name not in RUNTIMES:
        raise UsageError("unknown runtime", got=name, allowed=", ".join(RUNTIMES))
    if not 1 <= threads <= 64:
        raise UsageError("threads is out of range", got=threads, allowed="1 to 64")
    require_runtime(name)
    module_name, class_name = RUNTIMES[name].target.split(":")
    runtime: ModelRuntime = getattr(importlib.import_module(module_name), class_name)(
        model, contract, threads=threads
    )
    return runtime


def output_roles(widths: Sequence[int]) -> tuple[int, int | None]:
    """Tell which of a network's outputs is the answer and which the features: converters reorder them.

    Parameters
    ----------
    widths : sequence of int
        Length of each output's last axis, in the file's order.

    Returns
    -------
    answer : int
        Index of the narrowest output.
    features : int or None
        Index of the other, where there is one.

    Raises
    ------
    BundleError
        There are more than two outputs, none, or two of one width.

    Examples
    --------
    >>> output_roles([96, 1]), output_roles([1])
    ((1, 0), (0, None))
    """
    if len(widths) == 1:
        return 0, None
    if len(widths) != 2 or widths[0] == widths[1]:
        raise BundleError(
            "the model's outputs cannot be told apart",
            got="widths " + (", ".join(map(str, widths)) or "none"),
            allowed="one answer, and at most one wider vector of features",
            cure="convert the network with `edgeleuk convert`",
        )
    answer = int(widths[1] < widths[0])
    return answer, 1 - answer
