"""What edgeleuk made at commit 59308fc still opens, and what was typed then still works (before/make.py)."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from outcome import Outcome

from edgeleuk.cli.app import main
from edgeleuk.session import read_session

if TYPE_CHECKING:
    from outcome import Call

BEFORE = Path(__file__).with_name("before")
SAID = json.loads((BEFORE / "commands.json").read_text())
BUNDLE = BEFORE / "small.edgeleuk"


@pytest.fixture
def edgeleuk(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Call:
    monkeypatch.chdir(tmp_path)
    for name in ("run.db", "scan.db"):
        (tmp_path / name).write_bytes(gzip.decompress((BEFORE / f"{name}.gz").read_bytes()))

    def call(*words: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["edgeleuk", *map(str, words)])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        return Outcome(code, *capfd.readouterr())

    return call


def asked(call: Call, *words: object) -> Any:
    outcome = call(*words)
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out)


def missing(before: Any, now: Any, where: str = "") -> list[str]:
    """Return what `before` says and `now` does not; `now` may say more."""
    if isinstance(before, dict) and isinstance(now, dict):
        return [
            line
            for key, value in before.items()
            for line in (
                missing(value, now[key], f"{where}.{key}") if key in now else [f"{where}.{key} is gone"]
            )
        ]
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        pairs = enumerate(zip(before, now, strict=True))
        return [line for index, pair in pairs for line in missing(*pair, f"{where}[{index}]")]
    return [] if before == now else [f"{where}: {before!r} before, now {now!r}"]


def test_an_old_bundle_passes_its_self_test(edgeleuk: Call) -> None:
    verified = asked(edgeleuk, "verify", BUNDLE, "--json")
    assert verified["verdict"] == "pass"
    assert {each["status"] for each in verified["results"]} == {"ok"}
    assert {each["model"] for each in verified["results"]} >= {"model.int8.tflite", "model.int8.onnx"}
    assert asked(edgeleuk, "inspect", BUNDLE, "--json")["sha256"] == SAID["report"]["bundle_sha256"]


def test_an_old_session_is_whole_and_says_what_it_said(edgeleuk: Call) -> None:
    assert missing(SAID["report"], asked(edgeleuk, "report", "run.db", "--json")) == []
    with read_session(Path("run.db")) as session:
        assert session.verify().broken is None


def test_an_old_session_is_exported_as_before(edgeleuk: Call) -> None:
    outcome = edgeleuk("export", "run.db", "--jsonl")
    assert outcome.code == 0, outcome.err
    assert missing(SAID["export"], [json.loads(line) for line in outcome.out.splitlines()]) == []
    table = edgeleuk("export", "run.db", "--csv")
    header = next(line for line in table.out.splitlines() if not line.startswith("#")).split(",")
    assert set(SAID["export"][0]) - {"research_use_only"} <= set(header)
    assert json.loads(edgeleuk("export", "run.db", "--fhir").out)["resourceType"] == "Bundle"


def test_old_cells_are_replayed_to_the_last_digit(edgeleuk: Call) -> None:
    for before in SAID["replay"]:
        now = asked(edgeleuk, "replay", "run.db", "--cell", before["cell"], "--bundle", BUNDLE, "--json")
        assert now["equal"]
        assert missing(before, now) == []


def test_an_old_session_makes_a_page(edgeleuk: Call, tmp_path: Path) -> None:
    assert edgeleuk("report", "run.db", "--html", "page.html").code == 0
    assert (tmp_path / "page.html").read_text().count("data:image") >= len(SAID["export"])


def test_an_old_run_goes_on_with_its_old_settings(edgeleuk: Call) -> None:
    words = ("--camera", "virtual://?seed=7&width=960&height=720", "--bundle", BUNDLE)
    more = asked(
        edgeleuk, "run", *words, "--config", BEFORE / "run.toml", "--gate", "--frames", 3,
        "--session", "run.db", "--resume", "--json",
    )  # fmt: skip
    assert more["frames"]["processed"] > SAID["report"]["frames"]["processed"]
    report = asked(edgeleuk, "report", "run.db", "--json")
    assert report["frames"]["processed"] == more["frames"]["processed"]
    assert report["chain"]["broken"] is None


def test_an_old_scan_is_whole(edgeleuk: Call) -> None:
    report = asked(edgeleuk, "report", "scan.db", "--json")
    assert report["frames"]["processed"] == 4
    assert report["finished"]
    with read_session(Path("scan.db")) as session:
        assert session.verify().broken is None
        assert len(list(session.rows("frames"))) == 4


def test_old_settings_files_are_read() -> None:
    from edgeleuk.io.settings import RunSettings, load_settings
    from edgeleuk_convert.metrics.acceptance import load_limits
    from edgeleuk_convert.training.settings import load_training_settings
    from edgeleuk_firmware_bridge.stage.protocols import StageSettings

    environ = {"EDGELEUK_GATE": "false", "EDGELEUK_ABSTAIN": "conformal"}
    settings = load_settings(RunSettings, file=BEFORE / "run.toml", environ=environ)
    assert (settings.px_per_um, settings.until_cells, settings.abstain) == (13.0, 1_000_000, "conformal")
    assert load_limits(BEFORE / "limits.toml").probability_change == 0.4
    training = load_training_settings(BEFORE / "training.toml", {})
    assert (training.architecture, training.epochs, training.seed) == ("resnet", 3, 2)
    stage = load_settings(StageSettings, file=BEFORE / "stage.toml", environ={}, command="stage")
    assert (stage.lamp, stage.x.backlash_um) == (0.5, 6.0)


@pytest.mark.parametrize("command", sorted(SAID["options"]), ids=lambda command: command or "edgeleuk")
def test_old_words_are_understood(edgeleuk: Call, command: str) -> None:
    # All words are parsed before --help is seen to.
    words = [
        word
        for option, takes_value in SAID["options"][command]
        if option not in {"--help", "--list", "--version"}
        for word in ([option, "1"] if takes_value else [option])
    ]
    outcome = edgeleuk(*command.split(), *words, "--help")
    assert outcome.code == 0, outcome.err
    assert "Usage:" in outcome.out


def test_a_word_that_never_was_is_refused(edgeleuk: Call) -> None:
    outcome = edgeleuk("run", "--never-was", "--help")
    assert outcome.code == 2
    assert "--never-was" in outcome.err
