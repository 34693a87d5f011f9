"""Settings come from flag, environment, file and default, in this order, and tell which it was."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from edgeleuk.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from outcome import Outcome

    from edgeleuk.bench.command import Request


def shown(outcome: Outcome, name: str) -> tuple[object, str]:
    entry = json.loads(outcome.out)["settings"][name]
    return entry["value"], entry["source"]


def test_each_layer_wins_over_those_below(
    edgeleuk: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    show = ("config", "show", "--json")
    assert shown(edgeleuk(*show), "threads") == (1, "default")
    (tmp_path / "edgeleuk.toml").write_text("threads = 2\n")
    assert shown(edgeleuk(*show), "threads") == (2, "file")
    (tmp_path / "other.toml").write_text("threads = 3\n")
    monkeypatch.setenv("EDGELEUK_CONFIG", "other.toml")
    assert shown(edgeleuk(*show), "threads") == (3, "file")
    assert shown(edgeleuk("--config", "edgeleuk.toml", *show), "threads") == (2, "file")
    assert shown(edgeleuk(*show, "--config", "edgeleuk.toml"), "threads") == (2, "file")
    monkeypatch.setenv("EDGELEUK_THREADS", "4")
    assert shown(edgeleuk(*show), "threads") == (4, "environment")
    assert shown(edgeleuk(*show, "--flag", "threads=5"), "threads") == (5, "flag")
    assert "threads 4 (environment)" in " ".join(edgeleuk("config", "show").out.split())


def test_the_file_holds_camera_bundle_and_session(edgeleuk: Callable[..., Outcome], tmp_path: Path) -> None:
    (tmp_path / "edgeleuk.toml").write_text(
        'camera = "virtual://?width=320&height=240"\nbundle = "default"\nsession = "s.db"\n'
        'stage = "socket://127.0.0.1:9"\nquality_check = false\n'
    )
    # A stage that is only named moves nothing.
    ran = edgeleuk("run", "--frames", 1, "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["session"] == "s.db"
    refused = edgeleuk("stage", "info")
    assert refused.code == 6
    assert "127.0.0.1:9" in refused.err
    # A flag wins.
    assert "no-such.edgeleuk" in edgeleuk("run", "--bundle", "no-such.edgeleuk").err


def test_each_command_of_a_camera_takes_that_of_the_file(
    edgeleuk: Callable[..., Outcome], tmp_path: Path
) -> None:
    glass = np.full((240, 320, 3), (200, 180, 160), np.uint8)
    (tmp_path / "glass").mkdir()
    cv2.imwrite(str(tmp_path / "glass" / "a.png"), glass)
    (tmp_path / "edgeleuk.toml").write_text('camera = "dir://glass"\n')
    probed = edgeleuk("camera", "probe", "--seconds", "0.2", "--json")
    assert probed.code == 0, probed.err
    assert json.loads(probed.out)["camera"].endswith("glass")
    blank = edgeleuk("camera", "flat-field", "--out", "blank.png", "--json")
    assert blank.code == 0, blank.err
    assert (json.loads(blank.out)["camera"], json.loads(blank.out)["width"]) == ("dir://glass", 320)
    # The argument wins over the file.
    refused = edgeleuk("camera", "flat-field", "dir://none", "--out", "other.png")
    assert refused.code != 0
    assert "none" in refused.err


@pytest.mark.parametrize(
    ("words", "camera"),
    [((), None), (("--camera",), "dir://glass"), (("--camera", "virtual://"), "virtual://")],
)
def test_bench_touches_a_camera_only_if_it_is_asked_to(
    edgeleuk: Callable[..., Outcome],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    camera: str | None,
) -> None:
    asked: list[str | None] = []

    def bench(_: str, request: Request) -> object:
        asked.append(request.camera)
        raise UsageError("not measured here")

    monkeypatch.setattr("edgeleuk.bench.command.bench", bench)
    (tmp_path / "edgeleuk.toml").write_text('camera = "dir://glass"\n')
    assert edgeleuk("bench", *words).code == 2
    assert asked == [camera]


@pytest.mark.parametrize(
    ("text", "words", "sentence"),
    [
        ("thread = 2\n", ("config", "show"), "line 1: got thread, allowed runtime"),
        ("thread = 2\n", ("config", "show"), "did you mean threads?"),
        ("threads = 0\n", ("config", "show"), "expected threads from 1 to 64, got 0"),
        ("", ("config", "show", "--flag", "theads=2"), "did you mean threads?"),
        ("", ("config", "show", "--flag", "threads=two"), "bad setting"),
        ("", ("config", "show", "--config", "none.toml"), "no such configuration file"),
        ("", ("stage", "home"), "the stage is not given; pass --stage URL"),
    ],
)
def test_a_bad_setting_is_one_sentence(
    edgeleuk: Callable[..., Outcome], tmp_path: Path, text: str, words: tuple[str, ...], sentence: str
) -> None:
    (tmp_path / "edgeleuk.toml").write_text(text)
    outcome = edgeleuk(*words)
    assert (outcome.code, outcome.out) == (2, "")
    assert sentence in outcome.err
    assert len(outcome.err.splitlines()) == 1


def test_a_misspelt_variable_is_answered_by_the_right_one(
    edgeleuk: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGELEUK_CAMRA", "virtual://")
    outcome = edgeleuk("config", "show")
    assert outcome.code == 2
    assert "did you mean EDGELEUK_CAMERA?" in outcome.err
