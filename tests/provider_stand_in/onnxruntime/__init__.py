"""Stands in for ONNX Runtime's wheel for NVIDIA GPUs: all of it but the arithmetic and the speed.

With this folder's parent first among the places to import from, ``import onnxruntime`` is the installed one
with two more execution providers. Both compute on the processor, so nothing measured with them tells anything
of a GPU. Names, options, engine files and the ways to fail are the real ones': the texts of ``library`` and
``partly`` are what onnxruntime-gpu 1.31.1 wrote on a machine without CUDA.

``STAND_IN_FAULT`` makes it fail: ``library`` (CUDA's or TensorRT's is not there), ``partly`` (the provider
leaves nodes to the processor), ``silent`` (the provider is gone, and nothing is said), ``wrong`` (its answers
are). ``STAND_IN_LOG`` names a file for a line of JSON about each session.
"""

from __future__ import annotations

import json
import os
import sys
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

_OWN = Path(__file__).parent
_spec = PathFinder.find_spec(
    "onnxruntime", [place for place in sys.path if Path(place).resolve() != _OWN.parent.resolve()]
)
assert _spec is not None
assert _spec.origin is not None
_REAL = Path(_spec.origin).parent
__path__ = [str(_OWN), str(_REAL)]
exec(compile((_REAL / "__init__.py").read_text(), str(_REAL / "__init__.py"), "exec"))

_CPU = "CPUExecutionProvider"
_LIBRARIES = {"CUDAExecutionProvider": "libcublasLt.so.13", "TensorrtExecutionProvider": "libnvinfer.so.10"}
_STRICT = "session.disable_cpu_ep_fallback"
_PARTLY = (
    "[ONNXRuntimeError] : 1 : FAIL : This session contains graph nodes that are assigned to the default"
    " CPU EP, but fallback to CPU EP has been explicitly disabled by the user."
)
_ProcessorSession: Any = globals()["InferenceSession"]


def get_available_providers() -> list[str]:
    return ["TensorrtExecutionProvider", "CUDAExecutionProvider", _CPU]


class InferenceSession(_ProcessorSession):  # type: ignore[misc]
    def __init__(self, model: bytes, sess_options: Any = None, providers: Any = None, **named: Any) -> None:
        asked = providers[0] if isinstance(providers[0], tuple) else (providers[0], {})
        self._provider, options = asked
        if self._provider == _CPU:
            super().__init__(model, sess_options, providers=[_CPU], **named)
            return
        fault, strict = os.environ.get("STAND_IN_FAULT"), _is_strict(sess_options)
        _note({"provider": self._provider, "options": options, "strict": strict, **named})
        if fault in ("library", "partly"):
            self._give_up(fault, strict=strict)
        if fault == "silent":
            self._provider = _CPU
        elif options.get("trt_engine_cache_enable") == "1":
            _build_or_read(Path(options["trt_engine_cache_path"]))
        own = globals()["SessionOptions"]()
        own.intra_op_num_threads, own.inter_op_num_threads = sess_options.intra_op_num_threads, 1
        own.add_session_config_entry("session.x64quantprecision", "1")
        super().__init__(model, own, providers=[_CPU])

    def get_providers(self) -> list[str]:
        return list(dict.fromkeys([self._provider, _CPU]))

    def run(self, *words: Any, **named: Any) -> Any:
        found = super().run(*words, **named)
        is_wrong = self._provider != _CPU and os.environ.get("STAND_IN_FAULT") == "wrong"
        return [values + 40 for values in found] if is_wrong else found

    def _give_up(self, fault: str, *, strict: bool) -> None:
        """Do as the real one: log what is missing, and leave all to the processor but who is strict."""
        if fault == "library":
            name = f"libonnxruntime_providers_{'cuda' if 'CUDA' in self._provider else 'tensorrt'}.so"
            text = (
                f"[E:onnxruntime:Default, provider_bridge_ort.cc:2458 operator()] Failed to load library"
                f" /site/onnxruntime/capi/{name} with error: {_LIBRARIES[self._provider]}:"
                " cannot open shared object file: No such file or directory\n"
            )
            # As C++ does: past sys.stderr.
            os.write(2, text.encode())
        if strict:
            raise RuntimeError(_PARTLY)
        self._provider = _CPU


def _is_strict(options: Any) -> bool:
    try:
        return bool(options.get_session_config_entry(_STRICT) == "1")
    except RuntimeError:
        return False


def _build_or_read(folder: Path) -> None:
    """Keep an engine as TensorRT's provider does: one that cannot be read ends the session."""
    kept = sorted(folder.glob("*.engine"))
    if any(file.read_bytes() != b"an engine" for file in kept):
        msg = "[ONNXRuntimeError] : 11 : EP_FAIL : TensorRT EP failed to deserialize the engine"
        raise RuntimeError(msg)
    _note({"engine": "kept" if kept else "built"})
    if not kept:
        (folder / "TensorrtExecutionProvider_TRTKernel_graph_0_sm87.engine").write_bytes(b"an engine")


def _note(facts: dict[str, Any]) -> None:
    if log := os.environ.get("STAND_IN_LOG"):
        with Path(log).open("a", encoding="utf-8") as file:
            file.write(json.dumps(facts) + "\n")
