"""What users typed before is still understood, and answered with the new word."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from edgeleuk.cli.renamed import options_now

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from outcome import Outcome

CONVERT = ("convert", "m.keras", "--calibration", ".", "--out", "b.edgeleuk")


@pytest.mark.parametrize(
    ("words", "old", "new", "then"),
    [
        ((*CONVERT, "--gate", "none.toml"), "--gate", "--limits", "no such"),
        ((*CONVERT, "--calibration-card=c.json"), "--calibration-card", "--calibration-record", "c.json"),
        (("validate", "default", "--data", ".", "--gate", "x.toml"), "--gate", "--limits", "x.toml"),
        (("compare", "default", "default", "--data", ".", "--gate", "x"), "--gate", "--limits", "such"),
        (("classify", "none.png", "--no-gate"), "--no-gate", "--no-quality-check", "no such file"),
        (("segment", "none.png", "--out", "m", "--gate"), "--gate", "--quality-check", "no such file"),
        (("run", "--camera", "dir://none", "--no-gate"), "--no-gate", "--no-quality-check", "none"),
        (("stage", "calibrate"), "stage calibrate", "stage map", "the stage is not given"),
    ],
)  # fmt: skip
def test_old_words_warn_and_work(
    edgeleuk: Callable[..., Outcome], words: tuple[str, ...], old: str, new: str, then: str
) -> None:
    outcome = edgeleuk(*words)
    assert f"warning: `{old}` is now called `{new}`" in outcome.err
    assert then in outcome.err.splitlines()[-1]
    assert outcome.out == ""


def test_what_follows_two_dashes_is_left_alone() -> None:
    assert options_now(("classify",), ["--", "--gate"]) == ["--", "--gate"]
    assert options_now(("bench",), ["--gate"]) == ["--gate"]


def test_old_settings_are_read_from_file_and_environment(
    edgeleuk: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "edgeleuk.toml").write_text("gate = false\n")
    of_file = edgeleuk("config", "show", "--json")
    assert json.loads(of_file.out)["settings"]["quality_check"] == {"value": False, "source": "file"}
    assert "warning: the setting gate is now called quality_check (in edgeleuk.toml)" in of_file.err
    monkeypatch.setenv("EDGELEUK_GATE", "1")
    of_environ = edgeleuk("config", "show", "--json")
    assert json.loads(of_environ.out)["settings"]["quality_check"] == {"value": True, "source": "environment"}
    # The new word wins over the old one, wherever both stand.
    monkeypatch.setenv("EDGELEUK_QUALITY_CHECK", "0")
    both = edgeleuk("config", "show", "--json")
    assert json.loads(both.out)["settings"]["quality_check"] == {"value": False, "source": "environment"}
