"""A training is interrupted between two steps, never within TensorFlow; a second Ctrl-C does not wait."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import pytest

from edgeleuk.errors import InterruptedBeforeRecordError
from edgeleuk_convert.commands import train
from edgeleuk_convert.training.plan import TrainingProgress
from edgeleuk_convert.training.trainer import NOTHING_MADE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def at(stage: str, epoch: int = 1) -> TrainingProgress:
    return TrainingProgress(stage, epoch, 9, 1, 4)


def interrupted(monkeypatch: pytest.MonkeyPatch, out: Path, body: Callable[[Any], None]) -> str:
    """Let a body take the place of the training; what the command says when it is interrupted."""
    monkeypatch.setattr("edgeleuk_convert.training.trainer.train", lambda *_, progress, **__: body(progress))
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(InterruptedBeforeRecordError) as caught:
        train._train(None, out, None, NOTHING_MADE, allow_leakage=False)
    assert signal.getsignal(signal.SIGINT) is before
    return str(caught.value)


def test_within_a_step_it_waits_for_the_next(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    done: list[str] = []

    def body(progress: Callable[[TrainingProgress], None]) -> None:
        progress(at("inner", 3))
        signal.raise_signal(signal.SIGINT)
        done.append("the step")
        (tmp_path / "a.inner.checkpoint").mkdir()
        progress(at("inner", 4))
        done.append("the next step")

    said = interrupted(monkeypatch, tmp_path / "a.keras", body)
    assert done == ["the step"]
    assert "interrupted in epoch 3 of 9" in said
    assert said.endswith("give the same command again to go on from a.inner.checkpoint")


@pytest.mark.parametrize(("stages", "signals"), [((), 1), (("read",), 1), (("inner",), 2)])
def test_before_the_first_epoch_and_the_second_time_it_ends_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stages: tuple[str, ...], signals: int
) -> None:
    done: list[str] = []

    def body(progress: Callable[[TrainingProgress], None]) -> None:
        for stage in stages:
            progress(at(stage))
        for _ in range(signals):
            signal.raise_signal(signal.SIGINT)
        done.append("went on")

    assert "interrupted " in interrupted(monkeypatch, tmp_path / "a.keras", body)
    assert done == []
