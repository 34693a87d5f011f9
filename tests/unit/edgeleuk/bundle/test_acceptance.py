"""A bundle that failed its gate runs on no device, whatever its name; it can still be looked at."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, NamedTuple

import cv2
import msgspec
import pytest

from edgeleuk.bundle.golden import golden_crops_of
from edgeleuk.bundle.manifest import VALIDATION
from edgeleuk.bundle.reading import read_bundle
from edgeleuk.bundle.validation import read_validation
from edgeleuk.bundle.writing import describe_members, write_bundle
from edgeleuk.classifier.classifier import open_classifier
from edgeleuk.cli.app import main
from edgeleuk.errors import BundleError, CheckFailedError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

REASON = "onnx_int8: 15 of 1,458 decisions flip, 1.03 %, allowed 1 %"


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


def with_validation(path: Path, validation: bytes) -> Path:
    """Write the shipped bundle with another ``validation.json``."""
    shipped = read_bundle("default")
    members = dict(shipped.members) | {VALIDATION: validation}
    write_bundle(path, msgspec.structs.replace(shipped.manifest, members=describe_members(members)), members)
    return path


def said(verdict: str, *reasons: str) -> bytes:
    return json.dumps({"schema_version": 1, "verdict": verdict, "reasons": reasons}).encode()


@pytest.fixture
def rejected(tmp_path: Path) -> Path:
    """Its name says nothing."""
    return with_validation(tmp_path / "fine.edgeleuk", said("fail", REASON))


@pytest.fixture
def edgeleuk(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Outcome]:
    monkeypatch.chdir(tmp_path)

    def call(*words: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["edgeleuk", *map(str, words)])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        return Outcome(code, *capfd.readouterr())

    return call


def test_the_device_refuses_it_with_the_reason(
    edgeleuk: Callable[..., Outcome], rejected: Path, tmp_path: Path
) -> None:
    crop = golden_crops_of(read_bundle("default"))[0]
    cv2.imwrite(str(tmp_path / "cell.png"), crop.pixels[:, :, ::-1])
    run = ("run", "--camera", "virtual://?seed=1", "--frames", 1, "--session", "s.db")
    for words in (("classify", "cell.png"), run):
        outcome = edgeleuk(*words, "--bundle", rejected)
        assert (outcome.code, outcome.out) == (3, "")
        assert (
            f"fine.edgeleuk was rejected when it was made: int8 loses too much: got {REASON}" in outcome.err
        )
    assert not (tmp_path / "s.db").exists()


@pytest.mark.parametrize("runtime", ["litert", "onnxruntime"])
def test_no_network_of_it_can_be_opened_for_use(rejected: Path, runtime: str) -> None:
    with pytest.raises(CheckFailedError):
        open_classifier(read_bundle(rejected), runtime=runtime)
    with pytest.raises(CheckFailedError):
        open_classifier(read_bundle(rejected), precision="float32")


def test_it_can_be_looked_at(edgeleuk: Callable[..., Outcome], rejected: Path) -> None:
    facts = json.loads(edgeleuk("inspect", rejected, "--json").out)
    assert facts["validation"] == {"verdict": "fail", "reasons": [REASON]}
    assert f"REJECTED by its gate: no device runs it ({REASON})" in edgeleuk("inspect", rejected).out
    assert edgeleuk("verify", rejected).code == 0


def test_what_is_undecided_or_passes_runs(tmp_path: Path) -> None:
    for verdict in ("undecided", "pass"):
        bundle = read_bundle(with_validation(tmp_path / f"{verdict}.edgeleuk", said(verdict)))
        assert read_validation(bundle).verdict == verdict
        open_classifier(bundle).close()


@pytest.mark.parametrize("validation", [b"", b"{}", b'{"verdict": "perhaps"}'])
def test_without_a_verdict_it_is_damaged(tmp_path: Path, validation: bytes) -> None:
    path = with_validation(tmp_path / "x.edgeleuk", validation)
    with pytest.raises(BundleError, match=r"the validation in x.edgeleuk cannot be read"):
        read_bundle(path)


def test_a_failure_of_an_earlier_version_has_no_reasons(tmp_path: Path) -> None:
    path = with_validation(tmp_path / "x.edgeleuk", b'{"schema_version": 1, "verdict": "fail"}')
    with pytest.raises(CheckFailedError, match="got no reasons given"):
        open_classifier(read_bundle(path))
