"""ONNX models on an NVIDIA GPU, by ONNX Runtime's execution providers: all of the network, or an error.

ONNX Runtime lets the processor do what a provider cannot: all of it where a library is missing. It says so in
a log, at most. Here a session is opened without that way out, and asked afterwards who runs it.
"""

from __future__ import annotations

import re
import shutil
from typing import Any, ClassVar

from edgeleuk.errors import MissingDependencyError
from edgeleuk.inference.engine_cache import build_progress, engine_folder, is_built, remove_older
from edgeleuk.inference.onnx_session import open_session
from edgeleuk.inference.onnxruntime import BATCH, OnnxRuntime
from edgeleuk.inference.runtime import GPU_CURE
from edgeleuk.inference.start_notices import heard
from edgeleuk.io.console import shows_progress, warn

# How ONNX Runtime's log names what the loader misses.
_NOT_LOADED = re.compile(r"with error: (.+?)(?:: No such file or directory)?\s*$", re.MULTILINE)

_CURES = {
    "libcuda.so": "install NVIDIA's driver for this GPU, or pass --runtime auto",
    "libnvinfer.so": "install the TensorRT of this number, or pass --runtime cuda",
    "it takes only a part": "pass --runtime auto",
}


class CudaRuntime(OnnxRuntime):
    """An ONNX network on the GPU by CUDA. See `OnnxRuntime`.

    Raises
    ------
    MissingDependencyError
        A library or the driver is missing, or the GPU does not run all of the network.
    """

    name = "cuda"
    provider: ClassVar[str] = "CUDAExecutionProvider"
    # What is shown while a session is opened.
    busy: ClassVar[str] = "cuda starts"

    def open_session(self, model: bytes, threads: int) -> Any:
        """Open the session of the GPU."""
        # Where the processor cannot open it either, the network is at fault, and not the GPU.
        source = open_session(model).get_inputs()[0]
        return self.open_on_gpu(model, threads, source)

    def open_on_gpu(self, model: bytes, threads: int, source: Any) -> Any:  # noqa: ARG002 - TensorRT's wants it
        """Open it, knowing that it is a network with `source` for its input."""
        # With TF32 a product has 10 bits, and the self-test would not pass.
        return self.strictly(model, threads, {"use_tf32": "0"})

    def strictly(self, model: bytes, threads: int, options: dict[str, str]) -> Any:
        """Open a session that this provider runs whole.

        Raises
        ------
        MissingDependencyError
            See the class.
        """
        session, failure, is_watched = None, "", shows_progress()
        with heard() as said, build_progress(self.busy, said.show if is_watched else None):
            try:
                session = open_session(model, threads=threads, provider=(self.provider, options))
            except Exception as error:  # noqa: BLE001 - its exceptions share no public base class
                failure = str(error)
        if session is not None and self.provider in session.get_providers():
            return session
        cause = _cause(said.text, failure)
        cures = (cure for start, cure in _CURES.items() if cause.startswith(start))
        raise MissingDependencyError(
            f"the runtime {self.name} cannot run here", got=cause, cure=next(cures, GPU_CURE)
        )


class TensorRtRuntime(CudaRuntime):
    """An ONNX network of symmetric int8 on the GPU by TensorRT, as an engine that is built once and kept.

    Raises
    ------
    MissingDependencyError
        As `CudaRuntime`.
    """

    name = "tensorrt"
    provider = "TensorrtExecutionProvider"
    busy = "tensorrt starts, or builds its engine"

    def open_on_gpu(self, model: bytes, threads: int, source: Any) -> Any:
        """Open it with the engine that is kept, or build one."""
        folder = engine_folder(model)
        sides = "x".join(str(size) for size in source.shape[1:])
        options = {
            # Makes TensorRT heed the network's own int8; it calibrates nothing.
            "trt_int8_enable": "1",
            # One engine for any number of cells up to a batch: else each new number builds another.
            "trt_profile_min_shapes": f"{source.name}:1x{sides}",
            "trt_profile_opt_shapes": f"{source.name}:1x{sides}",
            "trt_profile_max_shapes": f"{source.name}:{BATCH}x{sides}",
        }
        if folder is not None:
            options |= {
                "trt_engine_cache_enable": "1",
                "trt_engine_cache_path": str(folder),
                "trt_timing_cache_enable": "1",
                "trt_timing_cache_path": str(folder),
            }
        try:
            session = self.strictly(model, threads, options)
        except MissingDependencyError as error:
            if folder is None or not is_built(folder):
                raise
            # A file that a power cut left damaged is no reason to stand still.
            warn(f"the engine in {folder} cannot be used and is built again: {error.got}")
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True, exist_ok=True)
            session = self.strictly(model, threads, options)
        if folder is not None:
            remove_older(folder)
        return session


def _cause(said: str, failure: str) -> str:
    """Return in a line why a provider does not run: what the loader missed comes before all else."""
    if missed := _NOT_LOADED.search(said):
        return missed[1]
    lines = [line.strip() for line in failure.splitlines() if line.strip()]
    if not lines:
        return "ONNX Runtime gave the network to the processor"
    if "fallback to CPU EP" in failure:
        return "it takes only a part of the network, and the rest would be left to the processor"
    # Before it stands a place in ONNX Runtime's own code.
    return re.sub(r"^/\S+ .*?\) ", "", lines[0])
