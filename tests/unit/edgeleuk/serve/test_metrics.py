"""`/metrics`: read by Prometheus' own parser, right in its numbers, and closed to strangers."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse
from served import cell_of, noise, site, summary_of

from edgeleuk.results import Check, Counted, Decision
from edgeleuk.results.kinds import Kind
from edgeleuk.serve import metrics
from edgeleuk.serve.access import Access
from edgeleuk.serve.desk import StageDesk
from edgeleuk.serve.tallies import BUCKETS_S
from edgeleuk.version import __version__
from edgeleuk_firmware_bridge.stage.protocols import Position

if TYPE_CHECKING:
    from served import Site

BOARD = Path(__file__).resolve().parents[4] / "docs" / "grafana-board.json"
COUNTED = Counted(3, 9, 4, {Check.AREA: 3, Check.PROBABILITY: 1}, {Kind.NEUTROPHIL: 20, Kind.SMUDGE: 2})
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


class Lamp:
    channels = ("white",)

    def level(self, channel: str) -> float:
        return 0.5

    def set_level(self, channel: str, level: float) -> None:
        raise NotImplementedError


class Table:
    def position(self) -> Position:
        return Position(1000.0, 2000.0, -3.0)

    def move(self, *_: object) -> None:
        raise NotImplementedError


def asked(found: Site, token: str | None = None, **headers: str) -> httpx.Response:
    if token is not None:
        headers["authorization"] = f"Bearer {token}"
    return httpx.get(f"{found.base}/metrics", headers=headers)


def fed(found: Site) -> None:
    """Let a run come to something of everything."""
    state = found.run.state
    for number in range(4):
        found.run.field(noise(number), cell_of(number, Decision.BLAST))
    for number, kind in enumerate(("lost", "back", "lost"), start=1):
        state.heard(number, 1000.0, kind, "x")
    summary = summary_of(7, COUNTED)
    rejected = {"blurred": 2, "too dark": 1}
    facts = {"captured": 12, "dropped": 2, "rejected": 3, "rejected_by_reason": rejected, "px_per_um": 8.0}
    facts |= {"detected": 50, "seen_before": 7, "excluded": 5}
    whole = type(summary)(**{name: getattr(summary, name) for name in summary.__slots__} | facts)
    state.tick = lambda _: None
    with state._lock:
        state._summary = whole
    state.changed.set()


def numbers(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parse(text)
        for sample in family.samples
    }


def until_counted(found: Site) -> str:
    """Return the metrics once the worker has told of what was fed."""
    for _ in range(500):
        text = asked(found).text
        if 'edgeleuk_cells{decision="uncertain"} 4.0' in text and "edgeleuk_field_sharpness" in text:
            return text
        found.run.state.changed.wait(0.02)
    pytest.fail("the metrics never told of the cells")


def stage_desk() -> StageDesk:
    desk = StageDesk(Table(), Lamp())
    desk._read()
    return desk


@pytest.fixture
def exposed(tmp_path: Path) -> str:
    """What is told of a run that has something of everything."""
    with site(tmp_path, desk=stage_desk()) as found:
        fed(found)
        return until_counted(found)


def test_the_numbers(exposed: str) -> None:
    found = numbers(exposed)

    def value(name: str, **labels: str) -> float:
        return found[f"edgeleuk_{name}", tuple(sorted(labels.items()))]

    assert value("build_info", version=__version__) == 1
    assert value("run_info", session="s.db", bundle="default", simulated="true") == 1
    assert value("run_phase", phase="running") == 1
    assert value("run_phase", phase="paused") == 0
    assert value("run_start_time_seconds") == 1000.0
    assert value("run_duration_seconds") == 2.0
    frames = {
        outcome: value("frames_total", outcome=outcome) for outcome in ("processed", "dropped", "rejected")
    }
    assert frames == {"processed": 7, "dropped": 2, "rejected": 3}
    assert value("rejected_frames_total", reason="blurred") == 2
    assert value("sightings_total", outcome="new") == COUNTED.total == 38
    assert value("sightings_total", outcome="seen_before") == 7
    assert value("cells", decision="other") == 22
    assert value("uncertain_cells", reason="area") == 3
    assert value("other_cells", kind="neutrophil") == 20
    assert value("blast_ratio", of="lymphoid", bound="estimate") == 3 / 12
    low, high = (value("blast_ratio", of="lymphoid", bound=bound) for bound in ("low", "high"))
    assert low < 3 / 12 < high
    assert value("blast_ratio_cells", of="lymphoid") == 12
    assert value("blast_ratio_cells", of="white") == 32
    assert value("pixel_size_meters") == pytest.approx(0.125e-6)
    assert value("session_events_total", kind="lost") == 2
    assert value("lamp_ratio") == 0.5
    assert value("stage_position_meters", axis="y") == pytest.approx(0.002)
    assert 0 < value("field_glass_ratio", colour="red") <= 1
    assert value("disk_free_bytes") > 0


def test_latencies_are_a_histogram(exposed: str) -> None:
    found = numbers(exposed)
    name = "edgeleuk_frame_latency_seconds"
    assert found[f"{name}_count", ()] == 4
    assert found[f"{name}_sum", ()] == pytest.approx(0.02)
    counts = [found[f"{name}_bucket", (("le", str(bound)),)] for bound in BUCKETS_S]
    assert counts == sorted(counts)
    # Each took 5 ms, which stands in the first bucket.
    assert counts[0] == found[f"{name}_bucket", (("le", "+Inf"),)] == 4


def test_names_go_by_the_conventions(exposed: str) -> None:
    for family in parse(exposed):
        assert re.fullmatch(r"edgeleuk_[a-z_]+", family.name)
        assert family.documentation.endswith(".")
        names = {sample.name for sample in family.samples}
        if family.type == "counter":
            assert names <= {f"{family.name}_total"}
        assert not [name for name in names if re.search(r"_(ms|um|percent|milli|micro)", name)]


def test_open_metrics_are_told_to_who_asks_for_them(tmp_path: Path) -> None:
    with site(tmp_path) as found:
        fed(found)
        until_counted(found)
        told = asked(found, accept=OPENMETRICS)
        assert told.headers["content-type"].startswith("application/openmetrics-text")
        families: Any = openmetrics.text_string_to_metric_families(told.text)  # type: ignore[no-untyped-call]
        assert {family.name for family in families} >= {
            "edgeleuk_frames",
            "edgeleuk_cells",
        }


def test_promtool_has_nothing_to_say(exposed: str) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed: Debian's package prometheus has it")
    done = subprocess.run(
        [promtool, "check", "metrics"], input=exposed, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_before_the_first_moment_there_is_the_version_alone(tmp_path: Path) -> None:
    with site(tmp_path) as found:
        state = found.run.state
        state.documents.now = lambda: None
        assert [family.name for family in parse(asked(found).text)] == ["edgeleuk_build_info"]


def test_a_share_that_may_not_be_told_is_left_out(tmp_path: Path) -> None:
    with site(tmp_path) as found:
        for _ in range(500):
            text = asked(found).text
            if "edgeleuk_blast_ratio_cells" in text:
                break
            found.run.state.changed.wait(0.02)
        names = {family.name: family for family in parse(text)}
        assert names["edgeleuk_blast_ratio"].samples == []
        assert [sample.value for sample in names["edgeleuk_blast_ratio_cells"].samples] == [0, 0]
        assert "edgeleuk_lamp_ratio" not in names


def test_only_who_may_see_the_page_may_ask(tmp_path: Path) -> None:
    with site(tmp_path, Access("t0ken", any_address=True)) as found:
        assert asked(found).status_code == 401
        assert asked(found, "wrong").status_code == 401
        assert "edgeleuk_build_info" in asked(found, "t0ken").text
        assert asked(found, "t0ken", host="rebound.example").status_code == 421
    with site(tmp_path) as found:
        assert asked(found).status_code == 200
        assert asked(found, host="rebound.example").status_code == 421
        assert asked(found, origin="https://elsewhere.example").status_code == 403


def test_without_the_library_the_page_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "find_spec", lambda _: None)
    with site(tmp_path) as found:
        told = asked(found)
        assert told.status_code == 501
        assert "pip install 'edgeleuk[serve]'" in told.json()["detail"]
        assert httpx.get(f"{found.base}/").status_code == 200


def queries(part: Any) -> list[str]:
    if isinstance(part, dict):
        own = [part[key] for key in ("expr", "query") if isinstance(part.get(key), str)]
        return own + [one for value in part.values() for one in queries(value)]
    return [one for value in part for one in queries(value)] if isinstance(part, list) else []


def test_the_board_asks_for_metrics_that_there_are(exposed: str) -> None:
    samples = [sample for family in parse(exposed) for sample in family.samples]
    labels: dict[str, set[str]] = {}
    for sample in samples:
        labels.setdefault(sample.name, set()).update(sample.labels)
    # Prometheus itself adds where it was told.
    own = {"instance", "job"}
    asked_for = set()
    for query in queries(json.loads(BOARD.read_text())):
        for name, selector in re.findall(r"(edgeleuk_\w+)(?:\{([^}]*)\})?", query):
            assert name in labels, query
            assert set(re.findall(r"(\w+)=", selector)) <= labels[name] | own, query
            asked_for.add(name)
        for grouped in re.findall(r"by \(([^)]*)\)", query):
            (name,) = set(re.findall(r"edgeleuk_\w+", query))
            assert {label.strip() for label in grouped.split(",")} <= labels[name] | own, query
    assert len(asked_for) >= 15
