"""``/metrics``: the state of a run for Prometheus, made of what the page shows.

Names go by https://prometheus.io/docs/practices/naming: base units, and ``_total`` for what only grows.
Nothing is computed for it, so that who asks often costs the run nothing.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import msgspec
from fastapi import APIRouter, HTTPException
from starlette.requests import Request  # noqa: TC002 - FastAPI looks at it
from starlette.responses import Response

from edgeleuk.errors import extra_cure
from edgeleuk.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prometheus_client.core import Metric

    from edgeleuk.serve.live import LiveState

_PHASES = ("waiting", "running", "paused", "ended")
_AXES = ("x", "y", "z")
_COLOURS = ("red", "green", "blue")


class RunMetrics:
    """Collects a run's metrics; a collector of prometheus-client's.

    Parameters
    ----------
    state : LiveState
        Of the run.
    """

    def __init__(self, state: LiveState) -> None:
        self._state = state

    def collect(self) -> Iterator[Metric]:
        """Yield every metric that there is something to say of."""
        yield _gauge("build_info", "Version of edgeleuk; always 1.", [({"version": __version__}, 1)])
        found = self._state.documents.now()
        if found is None:
            return
        document = msgspec.json.decode(found.value)
        yield from _of_run(document)
        if document["run"] is not None:
            yield from _of_frames(document["run"])
            yield from self._tallies()
        if document["counts"] is not None:
            yield from _of_cells(document["counts"])
        yield from _of_field(document)
        yield from _of_stage(document["stage"])

    def _tallies(self) -> Iterator[Metric]:
        from prometheus_client.core import HistogramMetricFamily

        tallies = self._state.tallies
        yield HistogramMetricFamily(
            "edgeleuk_frame_latency_seconds",
            "Time from a frame's arrival until its results were on the disk.",
            buckets=tallies.latencies(),
            sum_value=tallies.latency_sum_s,
        )
        yield _counter(
            "session_events",
            "Lines of the session's log by their kind.",
            [({"kind": kind}, n) for kind, n in sorted(dict(tallies.events).items())],
        )


def metrics_router(state: LiveState) -> APIRouter:
    """Return the route of a run's metrics."""
    router = APIRouter()

    @router.get("/metrics", response_class=Response)
    def metrics(request: Request) -> Response:
        """Return the run's metrics as Prometheus reads them."""
        if find_spec("prometheus_client") is None:
            raise HTTPException(
                501, f"metrics need prometheus-client, which is not installed; {extra_cure('serve')}"
            )
        from prometheus_client import CollectorRegistry
        from prometheus_client.exposition import choose_encoder

        registry = CollectorRegistry()
        registry.register(RunMetrics(state))
        encode, kind = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), headers={"content-type": kind, "cache-control": "no-store"})

    return router


def _of_run(document: dict[str, Any]) -> Iterator[Metric]:
    labels = {name: str(document[name] or "") for name in ("session", "bundle")}
    labels["simulated"] = str(document["simulated"]).lower()
    yield _gauge("run_info", "The run's session and bundle; always 1.", [(labels, 1)])
    phases: list[tuple[dict[str, str], float]] = [
        ({"phase": one}, float(one == document["phase"])) for one in _PHASES
    ]
    yield _gauge("run_phase", "1 for the phase that the run is in.", phases)
    yield from _one("frame_silence_seconds", "How long no frame has come.", document["silent_s"])
    yield from _one("disk_free_bytes", "Room where the session lies.", document["disk_free_bytes"])


def _of_frames(run: dict[str, Any]) -> Iterator[Metric]:
    yield from _one("run_start_time_seconds", "When the run began, since the Unix epoch.", run["started_at"])
    yield from _one("run_duration_seconds", "How long the run has lasted.", run["duration_s"])
    frames = run["frames"]
    outcomes = ("processed", "dropped", "rejected")
    yield _counter("frames", "Frames of the camera.", [({"outcome": one}, frames[one]) for one in outcomes])
    yield _counter(
        "rejected_frames",
        "Frames that were not used, by the reason.",
        [({"reason": reason}, n) for reason, n in sorted(frames["rejected_by_reason"].items())],
    )
    seen = run["sightings"]
    sightings = {"new": seen["unique"], "seen_before": seen["seen_before"], "excluded": seen["excluded"]}
    yield _counter(
        "sightings", "Sightings of white cells.", [({"outcome": one}, n) for one, n in sightings.items()]
    )
    scale = run["px_per_um"]
    yield from _one("pixel_size_meters", "Side of a pixel on the slide.", 1e-6 / scale if scale else None)


def _of_cells(counts: dict[str, Any]) -> Iterator[Metric]:
    decisions = ("blast", "normal", "other", "uncertain")
    yield _gauge(
        "cells",
        "Different cells by what they are called now; a further view may change that.",
        [({"decision": one}, counts[one]) for one in decisions],
    )
    for name, key, label in (("uncertain_cells", "uncertain_by_reason", "reason"),
                             ("other_cells", "other_by_kind", "kind")):  # fmt: skip
        yield _gauge(
            name,
            f"Cells called {name.partition('_')[0]}, by their {label}.",
            [({label: one}, n) for one, n in sorted(counts[key].items())],
        )
    shares = {
        "lymphoid": counts["differential"]["blasts_of_lymphoid_cells"],
        "white": counts["differential"]["blasts_of_white_cells"],
    }
    bounds = {"estimate": "share", "low": "low", "high": "high"}
    yield _gauge(
        "blast_ratio",
        "Share of blasts with its exact 95 % interval; left out where none may be told.",
        [
            ({"of": of, "bound": bound}, share[key])
            for of, share in shares.items()
            for bound, key in bounds.items()
            if share[key] is not None
        ],
    )
    yield _gauge(
        "blast_ratio_cells",
        "Cells that the share of blasts is of.",
        [({"of": of}, share["n"]) for of, share in shares.items()],
    )


def _of_field(document: dict[str, Any]) -> Iterator[Metric]:
    field = document["field"]
    if field is None:
        return
    yield from _one("field_sharpness", "Sharpness of a field of the last seconds.", field["sharpness"])
    yield from _one("field_clipped_ratio", "Share of its pixels that are clipped.", field["clipped_share"])
    yield _gauge(
        "field_glass_ratio",
        "Brightness of its empty glass, of the most that the camera can show.",
        [
            ({"colour": colour}, level / 255)
            for colour, level in zip(_COLOURS, field["glass"], strict=True)
            if level is not None
        ],
    )


def _of_stage(stage: dict[str, Any] | None) -> Iterator[Metric]:
    if stage is None:
        return
    yield from _one("lamp_ratio", "Level of the stage's lamp.", stage["lamp"])
    if stage["place_um"] is not None:
        yield _gauge(
            "stage_position_meters",
            "Where the stage was after its last move.",
            [({"axis": axis}, um * 1e-6) for axis, um in zip(_AXES, stage["place_um"], strict=True)],
        )


def _one(name: str, text: str, value: float | None) -> Iterator[Metric]:
    if value is not None:
        yield _gauge(name, text, [({}, value)])


def _gauge(name: str, text: str, values: Iterable[tuple[dict[str, str], float]]) -> Metric:
    from prometheus_client.core import GaugeMetricFamily

    return _filled(GaugeMetricFamily(f"edgeleuk_{name}", text), f"edgeleuk_{name}", values)


def _counter(name: str, text: str, values: Iterable[tuple[dict[str, str], float]]) -> Metric:
    from prometheus_client.core import CounterMetricFamily

    return _filled(CounterMetricFamily(f"edgeleuk_{name}", text), f"edgeleuk_{name}_total", values)


def _filled(metric: Metric, name: str, values: Iterable[tuple[dict[str, str], float]]) -> Metric:
    for labels, value in values:
        metric.add_sample(name, labels, value)
    return metric
