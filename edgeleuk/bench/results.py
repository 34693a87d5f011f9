"""What ``edgeleuk bench --json`` prints, part by part."""

from __future__ import annotations

from enum import Enum
from typing import Literal

from msgspec import UNSET, UnsetType, field

from edgeleuk.results.structs import Printed

# What stands where the machine does not tell.
Unavailable = Literal["unavailable"]


class Validity(str, Enum):
    """What is said of a measurement."""

    VALID = "valid"
    SUSPECT = "suspect"


class MachineFacts(Printed, frozen=True, kw_only=True):
    """What does not change while it is measured; see `edgeleuk.bench.machine.Machine`."""

    cpu: str
    board: str
    architecture: str
    cores: int
    memory_mb: int | Unavailable
    system: str
    kernel: str
    python: str
    power_mode: str
    packages: dict[str, str]
    int8_dot_product: str
    key: str


class StateFacts(Printed, frozen=True, kw_only=True):
    """How the machine fares at one moment; see `edgeleuk.bench.machine.MachineState`."""

    load_1min: float | Unavailable
    temperature_c: float | Unavailable
    zones: dict[str, float] | Unavailable
    clock_mhz: float | Unavailable
    clocks_mhz: tuple[float, ...] | Unavailable
    governor: str
    throttled: str
    throttled_bits: tuple[str, ...] | Unavailable
    throttle_count: int | Unavailable
    tegrastats: str


class MeasuredBundle(Printed, frozen=True, kw_only=True):
    """Which bundle was measured."""

    name: str
    file: str
    sha256: str


class MeasuredNetwork(Printed, frozen=True, kw_only=True):
    """Which of the bundle's networks, and with how many threads."""

    runtime: str
    precision: str
    threads: int


class NetworkTime(MeasuredNetwork, frozen=True, kw_only=True):
    """Percentiles of a call in milliseconds, and how far the rounds differ as a share of their median."""

    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    cells_per_s: float
    spread: float
    calls: int


class NetworkRow(NetworkTime, frozen=True, kw_only=True):
    """A cell through the network; the last three are of a process of its own, None where that failed."""

    self_test: str
    load_ms: float | None
    first_inference_ms: float | None
    peak_rss_mb: float | None


class BatchRow(NetworkTime, frozen=True, kw_only=True):
    """Several cells at once through the network."""

    cells: int


class StageTime(Printed, frozen=True, kw_only=True):
    """What a stage of the pipeline takes of a frame, and its share of all work."""

    mean_ms: float
    p50_ms: float
    p95_ms: float
    share: float


class PipelineTime(MeasuredNetwork, frozen=True, kw_only=True):
    """What the pipeline was timed on, and how many frames a second were done."""

    camera: str
    pictures: str
    frames: int
    rejected: int
    cells: int
    fps: float
    frame_ms: float
    work_ms: float
    latency_ms: dict[str, float]


class OperatorTime(Printed, frozen=True, kw_only=True):
    """All operations of one kind, for one cell."""

    op: str
    calls: float
    ms: float
    share: float


class ComparedRow(MeasuredNetwork, frozen=True, kw_only=True):
    """A network in two measurements, new / old; ``noise`` where they differ by less than their rounds."""

    p50_ratio: float
    p95_ratio: float
    cells_per_s_ratio: float
    noise: float
    change: Literal["faster", "slower", "noise"]


class Comparison(Printed, frozen=True, kw_only=True):
    """A measurement against an older one, and in what they are not to be compared."""

    against: str
    mismatches: tuple[str, ...]
    suspect: tuple[str, ...]
    rows: tuple[ComparedRow, ...]
    only_old: tuple[str, ...]
    only_new: tuple[str, ...]


class BenchResult(Printed, frozen=True, kw_only=True):
    """What ``edgeleuk bench --json`` prints, and what ``--out`` and the user's cache keep.

    Attributes
    ----------
    others_share : float or None
        Share of the cores that other programs used; None where the kernel does not tell.
    fastest : NetworkRow
        The one of `results` with the least p50 that passed the self-test.
    classify : tuple of NetworkTime
        From a crop to its prediction; that of the fastest first.
    start_ms, cold_start_ms, peak_rss_mb : float or None
        Of fresh processes; None where they failed.
    not_run : dict of str to str
        Runtime -> why it cannot be measured here; empty where only some networks are asked for.
    operators : dict or None
        Network -> its operations; None without ``--ops``.
    stored : str or None
        Where ``run --runtime auto`` finds it.
    comparison : Comparison
        With ``--compare``.
    """

    schema_version: int
    edgeleuk: str
    bundle: MeasuredBundle
    machine: MachineFacts
    before: StateFacts
    after: StateFacts
    seconds: float
    rounds: int
    others_share: float | None
    results: tuple[NetworkRow, ...]
    fastest: NetworkRow
    classify: tuple[NetworkTime, ...]
    batches: tuple[BatchRow, ...]
    stages: dict[str, StageTime]
    pipeline: PipelineTime
    start_ms: float | None
    cold_start_ms: float | None
    cold_start_camera: str
    peak_rss_mb: float | None
    operators: dict[str, tuple[OperatorTime, ...]] | None
    verdict: Validity
    reasons: tuple[str, ...]
    not_run: dict[str, str] = field(default_factory=dict)
    stored: str | None = None
    comparison: Comparison | UnsetType = UNSET
