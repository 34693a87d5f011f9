"""ONNX Runtime's sessions: opened in one place, for the runtime and for whoever looks into a network."""

from __future__ import annotations

from typing import Any


def open_session(
    model: bytes,
    *,
    threads: int = 1,
    profile_prefix: str | None = None,
    provider: tuple[str, dict[str, str]] | None = None,
) -> Any:
    """Open an ONNX network: the one place that does, so that int8 gives the same numbers everywhere.

    On processors without an 8-bit dot product, products of unsigned and signed bytes are added in 16 bits and
    saturate, unless the session asks for exact sums: it then turns the weights unsigned. On all others it
    does nothing. Source: ONNX Runtime, "Quantize ONNX Models", ``session.x64quantprecision``.

    Parameters
    ----------
    model : bytes
    threads : int
    profile_prefix : str, optional
        Turns the profiler on; its file's path begins so.
    provider : (name, options), optional
        Execution provider that has to run all of the network; by default the processor does. ONNX Runtime
        itself would leave to the processor, without a word, what a provider does not take.

    Returns
    -------
    onnxruntime.InferenceSession
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.x64quantprecision", "1")
    if profile_prefix is not None:
        options.enable_profiling = True
        options.profile_file_prefix = profile_prefix
    if provider is None:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    return onnxruntime.InferenceSession(model, options, providers=[provider], enable_fallback=0)
