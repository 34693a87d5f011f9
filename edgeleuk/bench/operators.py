"""Which operations of a network take the time: ONNX Runtime's own profile, added up by kind."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from edgeleuk.bundle.golden import decode_golden
from edgeleuk.bundle.manifest import GOLDEN
from edgeleuk.errors import MissingDependencyError
from edgeleuk.inference import RUNTIMES, available_runtimes
from edgeleuk.inference.onnx_session import open_session
from edgeleuk.inference.quantization import look_up, real_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from edgeleuk.bench.networks import Configuration
    from edgeleuk.bundle.contents import Bundle

WARM_UP, RUNS = 3, 20
MOST_ROWS = 12


class Operator(NamedTuple):
    """All operations of one kind.

    Attributes
    ----------
    op : str
    calls : float
        For one cell.
    ms : float
        For one cell.
    share : float
        Of all operations, 0 to 1.
    """

    op: str
    calls: float
    ms: float
    share: float


def profile_operators(bundle: Bundle, configuration: Configuration) -> list[Operator]:
    """Run an ONNX network with ONNX Runtime's profiler on.

    Raises
    ------
    MissingDependencyError
        ONNX Runtime is not installed.
    """
    if "onnxruntime" not in available_runtimes():
        raise MissingDependencyError(
            "operations are timed by ONNX Runtime, which is not installed",
            cure=RUNTIMES["onnxruntime"].cure,
        )
    contract = bundle.manifest.input
    tensor = decode_golden(bundle.members[GOLDEN]).tensors[:1]
    real = look_up(real_table(contract.scale, contract.offset), tensor)
    with TemporaryDirectory() as folder:
        session = open_session(
            bundle.members[bundle.model_name(configuration.runtime, configuration.precision)],
            threads=configuration.threads,
            profile_prefix=str(Path(folder) / "profile"),
        )
        for _ in range(WARM_UP + RUNS):
            session.run(None, {session.get_inputs()[0].name: real})
        events = msgspec.json.decode(Path(session.end_profiling()).read_bytes())
    return added_up(events, WARM_UP, WARM_UP + RUNS)


def added_up(events: Iterable[Mapping[str, Any]], warm_up: int, runs: int) -> list[Operator]:
    """Add up a profile by kind of operation, the longest first, without its first runs.

    Parameters
    ----------
    events : iterable of mapping
        A profile's, in Chrome's trace format: ``dur`` is in us.
    warm_up, runs : int
        Runs that are not counted, and all of them.
    """
    taken: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    for event in events:
        if event.get("cat") == "Node" and str(event.get("name", "")).endswith("_kernel_time"):
            taken[event["args"]["op_name"]].append((float(event["ts"]), float(event["dur"])))
    kept = {
        # Each run has as many calls of a kind.
        op: [dur for _, dur in sorted(calls)[len(calls) * warm_up // runs :]]
        for op, calls in taken.items()
    }
    total = sum(map(sum, kept.values())) or 1.0
    counted = runs - warm_up
    operators = [
        Operator(op, len(calls) / counted, sum(calls) / counted / 1000, sum(calls) / total)
        for op, calls in kept.items()
    ]
    return sorted(operators, key=lambda operator: -operator.ms)
