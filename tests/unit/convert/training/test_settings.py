"""Settings of a training: which layer wins, and what is refused in one sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from edgeleuk.bundle.reading import read_bundle
from edgeleuk.errors import IntegrityError, UsageError
from edgeleuk_convert.training.plan import TrainingSettings
from edgeleuk_convert.training.record import bundle_record
from edgeleuk_convert.training.settings import load_training_settings, read_subjects, settings_of

if TYPE_CHECKING:
    from pathlib import Path


def toml(folder: Path, text: str) -> Path:
    file = folder / "training.toml"
    file.write_text(text)
    return file


def test_nothing_given_gives_the_defaults() -> None:
    assert load_training_settings(None, {"epochs": None}) == TrainingSettings()


def test_flags_win_and_tables_are_partly_given(tmp_path: Path) -> None:
    file = toml(tmp_path, 'architecture = "inception"\nepochs = 3\n[augmentation]\njpeg = 1\n')
    merged = load_training_settings(file, {"epochs": 5, "seed": None})
    assert (merged.architecture, merged.epochs, merged.seed) == ("inception", 5, 0)
    assert (merged.augmentation.jpeg, merged.augmentation.noise) == (1.0, 3.0)


def test_variables_of_the_device_mean_nothing_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGELEUK_THREADS", "2")
    monkeypatch.setenv("EDGELEUK_EPOCHS", "2")
    assert load_training_settings(None, {}) == TrainingSettings()


REFUSED = {
    "unknown key": ("epochs = 2\nepoch = 3\n", r"line 2: got epoch, allowed architecture, epochs"),
    "unknown key in a table": (
        "epochs = 2\n[augmentation]\n# how far\nscle = 0.1\n",
        r"line 4: got augmentation.scle, allowed scale, shift_px",
    ),
    "unknown key of the input": ("[input]\nheigth = 64\n", r"line 2: got input.heigth, allowed height"),
    "unknown table": ("epochs = 2\n\n[augment]\nscale = 0.1\n", r"line 3: got augment, allowed architecture"),
    "unknown dotted key": ("augmentation.scle = 1", r"line 1: got augmentation.scle"),
    "unknown key in an inline table": (
        "seed = 1\naugmentation = { scale = 0.1, scle = 1 }",
        r"line 2: got augmentation.scle",
    ),
    "wrong kind": ('epochs = "3"', r"Expected `int`, got `str` - at `\$.epochs` \(.*training.toml, line 1\)"),
    "wrong kind in a table": (
        "[augmentation]\nnoise = true",
        r"Expected `float`, got `bool` - at `\$.augmentation.noise` \(.*training.toml, line 2\)",
    ),
    "no table": ("input = 3", r"Expected `object | null`, got `int` - at `\$.input`"),
    "half an input": ("[input]\nheight = 64", r"missing required field `width` - at `\$.input`"),
    "input out of range": (
        '[input]\nheight = 2\nwidth = 64\nchannels = ["red"]\nnormalise = true\n'
        "px_per_um = 3.0\ncrop_px_per_um = 18.5",
        r"expected height from 8 to 4096, got 2",
    ),
    "out of range": ("epochs = 0", r"epochs is out of range: got 0, allowed 1 to 10000"),
    "no number": ("warmup_epochs = nan", r"warmup_epochs is out of range: got nan"),
    "out of range in a table": ("augmentation.jpeg = 2.0", r"augmentation.jpeg is out of range: got 2.0"),
    "unknown architecture": ('architecture = "vgg"', r"unknown architecture: got vgg, allowed baseline"),
    "twice": ("epochs = 1\nepochs = 2", r"is no TOML: got Cannot overwrite a value"),
    "fold as well": ('held_out = ["1"]', r"a fold as well: got --fold; leave out the one or the other"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_file_is_one_clear_sentence(tmp_path: Path, case: str) -> None:
    text, sentence = REFUSED[case]
    with pytest.raises(UsageError, match=sentence) as refused:
        load_training_settings(toml(tmp_path, text), {"fold": 1})
    assert refused.value.exit_code == 2


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such configuration file"):
        load_training_settings(tmp_path / "none.toml", {})
    with pytest.raises(UsageError, match="cannot be read: got Is a directory"):
        load_training_settings(tmp_path, {})
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match=r"binary.toml is no TOML"):
        load_training_settings(tmp_path / "binary.toml", {})


def test_names_of_subjects_one_a_line(tmp_path: Path) -> None:
    file = tmp_path / "held-out.txt"
    file.write_text("# hard ones\nH12\n\n  14 # a blast\nH12\n", encoding="utf-8-sig")
    assert read_subjects(file) == ("H12", "14")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"# nobody\n", "is empty: allowed one subject a line"),
        (b"\xff\xfe\x00", "no UTF-8 text"),
        (None, "No such file"),
    ],
)
def test_a_list_that_names_nobody(tmp_path: Path, content: bytes | None, sentence: str) -> None:
    if content is not None:
        (tmp_path / "held-out.txt").write_bytes(content)
    with pytest.raises(UsageError, match=sentence):
        read_subjects(tmp_path / "held-out.txt")


def test_the_shipped_network_can_be_trained_again() -> None:
    record = bundle_record(read_bundle("default"))
    settings = settings_of(record)
    assert settings.architecture == record.architecture
    assert settings.contract == record.input
    assert {**settings.flat(), **record.settings} == settings.flat()


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"momentum": 0.9}, "momentum"),
        ({"epochs": 0}, "epochs is out of range"),
        ({"epochs": "two"}, "Expected `int`"),
    ],
)
def test_settings_of_another_version_are_refused(changed: dict[str, Any], named: str) -> None:
    record = bundle_record(read_bundle("default"))
    other = msgspec.structs.replace(record, settings={**record.settings, **changed})
    with pytest.raises(IntegrityError, match=f"not those of this version: got .*{named}.*train the network"):
        settings_of(other)
