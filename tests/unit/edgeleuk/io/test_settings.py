"""Settings: which layer wins, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from edgeleuk.errors import UsageError
from edgeleuk.io.settings import RunSettings, load_settings

if TYPE_CHECKING:
    from pathlib import Path


def toml(folder: Path, text: str) -> Path:
    file = folder / "edgeleuk.toml"
    file.write_text(text)
    return file


def test_nothing_given_gives_the_defaults() -> None:
    assert load_settings(RunSettings, environ={}) == RunSettings()


def test_the_later_layer_wins(tmp_path: Path) -> None:
    file = toml(tmp_path, 'threads = 2\nruntime = "onnxruntime"\npx_per_um = 10.0\n')
    settings = load_settings(
        RunSettings,
        file=file,
        environ={"EDGELEUK_THREADS": "3", "EDGELEUK_PX_PER_UM": "11.5", "HOME": "/"},
        flags={"threads": 4, "runtime": None},
    )
    assert settings == RunSettings(threads=4, runtime="onnxruntime", px_per_um=11.5)


def test_an_unknown_key_is_refused_with_its_line(tmp_path: Path) -> None:
    file = toml(tmp_path, "# a comment\nthreads = 2\nthread = 3\n")
    with pytest.raises(UsageError, match=r"line 3: got thread, allowed runtime, precision, threads"):
        load_settings(RunSettings, file=file, environ={})


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('threads = "two"', "bad setting"),
        ("threads = 0", "threads from 1 to 64, got 0"),
        ("reconnects = -1", "reconnects from 0 to 1000, got -1"),
        ("exposure_ms = -1", "exposure_ms of 0 or more, got -1"),
        ("gain = inf", "gain of 0 or more, got inf"),
        ('white_balance = "1,2,3"', "white_balance as kelvin .*got '1,2,3'"),
        ('abstain = "never"', "bad setting: Invalid enum value 'never'"),
        ('runtime = "ncnn"', "bad setting: Invalid enum value 'ncnn'"),
        ("px_per_um = -1.0", "px_per_um from 0.1 to 200"),
        ("threads = = 2", "is no TOML"),
        ('threads = "2"', r"Expected `int`, got `str` - at `\$.threads` \(.*edgeleuk.toml, line 1\)"),
    ],
)
def test_bad_values_are_refused(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        load_settings(RunSettings, file=toml(tmp_path, text), environ={})


def test_a_variable_of_the_wrong_kind_is_named() -> None:
    with pytest.raises(UsageError, match="bad setting: Expected `int`, got `str` - at `EDGELEUK_THREADS`"):
        load_settings(RunSettings, environ={"EDGELEUK_THREADS": "two"})


def test_an_unknown_variable_is_refused() -> None:
    with pytest.raises(UsageError, match="unknown variable EDGELEUK_THREAD: allowed EDGELEUK_RUNTIME"):
        load_settings(RunSettings, environ={"EDGELEUK_THREAD": "1"})


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such configuration file"):
        load_settings(RunSettings, file=tmp_path / "none.toml", environ={})


def test_variables_that_are_no_settings_are_left_alone() -> None:
    assert (
        load_settings(RunSettings, environ={"EDGELEUK_DATA": "/x", "EDGELEUK_CONFIG": "/y"}) == RunSettings()
    )
