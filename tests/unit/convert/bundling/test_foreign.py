"""What a training record would say of a foreign network: read from a file, guessed where that is safe."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from foreign import dense, separable

from edgeleuk.errors import UsageError
from edgeleuk_convert.bundling.foreign import read_contract
from edgeleuk_convert.networks.loading import functional

if TYPE_CHECKING:
    from pathlib import Path

SCALE = "[input]\npx_per_um = 1.4\n"


def written(folder: Path, text: str) -> Path:
    file = folder / "contract.toml"
    file.write_text(text)
    return file


def test_a_network_tells_most_of_it(tmp_path: Path) -> None:
    of_input, of_output = read_contract(functional(dense()), "x.keras", written(tmp_path, SCALE))
    assert (of_input.shape, of_input.channels) == ((32, 32, 3), ("red", "green", "blue"))
    # It begins with a rescaling: bytes go in.
    assert (of_input.scale, of_input.offset, of_input.normalise) == (1.0, 0.0, False)
    assert (of_output.kind, of_output.labels, of_output.positive_label) == (
        "probability", ("normal", "blast"), "blast",
    )  # fmt: skip


def test_all_of_it_can_be_said(tmp_path: Path) -> None:
    text = (
        '[input]\nchannels = ["luminance", "mask", "red"]\npx_per_um = 2\nscale = 0.5\noffset = -64\n'
        'normalise = true\nrim_um = 0.3\n[output]\nlabels = ["blast", "normal", "other"]\n'
        "threshold = 0.4\nabstain = [0.3, 0.6]\n"
    )
    of_input, of_output = read_contract(separable(), "x.keras", written(tmp_path, text))
    assert (of_input.scale, of_input.offset, of_input.rim_um) == (0.5, -64, 0.3)
    assert (of_output.kind, of_output.positive_label, of_output.width) == ("softmax", "blast", 3)
    assert (of_output.threshold, of_output.abstain) == (0.4, (0.3, 0.6))


@pytest.mark.parametrize(
    ("build", "text", "sentence"),
    [
        (dense, None, r"no training record.*no input.px_per_um \(1.32 for whole C-NMC pictures at 32 px\)"),
        (separable, SCALE, r"got no output.labels \(the 3 classes.*\), no output.positive"),
        (separable, SCALE + '[output]\nlabels = ["a", "b", "c"]\n', "got no output.positive"),
        (separable, SCALE + '[output]\nlabels = ["a", "blast"]\n', "answers with 3 numbers"),
        (dense, SCALE + 'channels = ["mask"]\n', "takes images of 3 channels: got mask"),
        (dense, SCALE + "rim_um = 9\n", "does not fit x.keras: got expected rim_um"),
        (dense, SCALE + '[output]\nkind = "logit"\n', "got logit, allowed probability, as x.keras ends"),
        (dense, SCALE + '[output]\npositive = "all"\n', "positive as one of normal, blast, got all"),
        (dense, "[input]\npx_per_mm = 1\n", "line 2: got input.px_per_mm"),
        (lambda: separable(classes=1), SCALE, "ends in a softmax of 1"),
    ],
)
def test_what_is_missing_or_does_not_fit_is_named(
    build: object, text: str | None, sentence: str, tmp_path: Path
) -> None:
    file = None if text is None else written(tmp_path, text)
    with pytest.raises(UsageError, match=sentence):
        read_contract(functional(build()), "x.keras", file)  # type: ignore[operator]
