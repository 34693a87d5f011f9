"""Pass, fail or undecided: each limit, on both of its sides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edgeleuk.errors import UsageError
from edgeleuk_convert.metrics.acceptance import (
    AcceptanceLimits,
    Held,
    images_needed,
    load_limits,
    quantization_findings,
    settle,
    verdict_text,
)

if TYPE_CHECKING:
    from pathlib import Path

ENOUGH = Held((500, 1000), (4, 8))
FEW = Held((20, 30), (2, 2))
GOOD: dict[str, Any] = {
    "weighted_f1_drop": 0.001,
    "weighted_f1_drop_upper_95": 0.006,
    "sensitivity_drop": -0.002,
    "sensitivity_drop_upper_95": 0.003,
    "flips": 5,
    "flip_rate": 5 / 1500,
    "max_probability_change": 0.06,
    "most_changed": {"file": "fold_0/all/UID_1.bmp"},
}


def settled(held: Held = ENOUGH, limits: AcceptanceLimits | None = None, **changes: Any) -> dict[str, Any]:
    limits = limits or AcceptanceLimits()
    models = {"tflite_int8": GOOD, "onnx_int8": GOOD | changes}
    return settle(quantization_findings(models, limits, held), limits)


CASES: dict[str, tuple[dict[str, Any], str, str]] = {
    "all kept": ({}, "pass", ""),
    "at the limits": (
        {
            "weighted_f1_drop": 0.01, "weighted_f1_drop_upper_95": 0.01, "sensitivity_drop_upper_95": 0.01,
            "flips": 15, "flip_rate": 0.01, "max_probability_change": 0.15,
        },
        "pass",
        "",
    ),
    "F1 drops": (
        {"weighted_f1_drop": 0.0112, "weighted_f1_drop_upper_95": 0.02},
        "fail",
        "onnx_int8: weighted F1 drops by 1.12 points, allowed 1",
    ),
    "F1 may drop": (
        {"weighted_f1_drop_upper_95": 0.013},
        "undecided",
        "onnx_int8: weighted F1 drops by 0.1 points, but it may be 1.3 (upper 95 % bound), allowed 1",
    ),
    "sensitivity drops": (
        {"sensitivity_drop": 0.02, "sensitivity_drop_upper_95": 0.03},
        "fail",
        "onnx_int8: sensitivity drops by 2 points, allowed 1",
    ),
    "sensitivity may drop": (
        {"sensitivity_drop_upper_95": 0.011},
        "undecided",
        "onnx_int8: sensitivity drops by -0.2 points, but it may be 1.1 (upper 95 % bound), allowed 1",
    ),
    "flips": (
        {"flips": 16, "flip_rate": 16 / 1500},
        "fail",
        "onnx_int8: 16 of 1,500 decisions flip, 1.07 %, allowed 1 %",
    ),
    "one cell moves far": (
        {"max_probability_change": 0.151},
        "fail",
        "onnx_int8: the probability of fold_0/all/UID_1.bmp moves by 0.151, allowed 0.15",
    ),
    "no number": (
        {"weighted_f1_drop": float("nan")},
        "fail",
        "onnx_int8: weighted F1 drops by nan points, allowed 1",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_each_limit(case: str) -> None:
    changes, verdict, reason = CASES[case]
    result = settled(**changes)
    assert result["verdict"] == verdict
    assert result["reasons"] == ([reason] if reason else [])
    assert (result["images_needed"] is None) == (verdict != "undecided")
    assert result["limits"]["flips"] == 0.01


def test_a_failure_decides_and_stands_first() -> None:
    result = settled(weighted_f1_drop_upper_95=0.02, max_probability_change=0.3)
    assert result["verdict"] == "fail"
    assert [reason.split()[1] for reason in result["reasons"]] == ["the", "weighted"]
    assert result["images_needed"] is None
    assert verdict_text(result).startswith("verdict: fail\n  onnx_int8: the probability")


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, "undecided"),
        ({"weighted_f1_drop": 0.02, "weighted_f1_drop_upper_95": 0.06}, "undecided"),
        ({"flips": 1, "flip_rate": 1 / 50}, "undecided"),
        ({"flips": 8, "flip_rate": 8 / 50}, "fail"),
        ({"max_probability_change": 0.2}, "fail"),
    ],
)
def test_few_cells_fail_only_by_what_they_do_show(changes: dict[str, Any], verdict: str) -> None:
    result = settled(FEW, **changes)
    assert result["verdict"] == verdict
    assert any("too few held-out cells to judge by" in reason for reason in result["reasons"])
    # 80 more normal cells and 70 more blasts, which are more than a group of each.
    assert result["images_needed"] == (150 if verdict == "undecided" else None)


def test_few_groups_are_few_however_many_cells() -> None:
    result = settled(Held((500, 1000), (1, 8)))
    assert result["verdict"] == "undecided"
    assert result["images_needed"] == 1000
    assert "got 500 normal cells of 1 groups and 1000 blast cells of 8 groups" in result["reasons"][0]
    assert "undecided: about 1,000 more images needed" in verdict_text(result)


def test_without_any_cell_it_is_undecided() -> None:
    held = Held.of(np.zeros(0, bool), np.zeros(0, str))
    assert settled(held)["images_needed"] == 200


def test_the_estimate_is_the_law_of_the_square_root() -> None:
    # Half the spread needs four times the cells.
    assert images_needed(1000, 0.0, 0.02, 0.01) == 3000
    assert images_needed(1000, 0.005, 0.015, 0.01) == 3000
    # No room at all: very many, not infinitely many.
    assert 1e6 < images_needed(1000, 0.01, 0.02, 0.01) < 1e8
    # The largest of several is told, to two digits.
    assert settled(weighted_f1_drop_upper_95=0.0123, sensitivity_drop_upper_95=0.0101)["images_needed"] == 870


def test_other_limits_are_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "gate.toml"
    file.write_text("[limits]\nflips = 0.02\n")
    limits = load_limits(file)
    assert (limits.flips, limits.probability_change) == (0.02, 0.15)
    assert settled(limits=limits, flips=16, flip_rate=16 / 1500)["verdict"] == "pass"
    assert load_limits(None) == AcceptanceLimits()


def test_the_table_of_before_is_read_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "gate.toml"
    file.write_text("[gate]\nflips = 0.02\n")
    assert load_limits(file) == AcceptanceLimits(flips=0.02)
    assert "the setting gate is now called limits" in caplog.text
    file.write_text("[gate]\n\nflips = 2\n")
    with pytest.raises(UsageError, match=r"gate.toml, line 1\)"):
        load_limits(file)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[limits]\nflips = 2\n", "expected flips from 0 to 1, got 2"),
        ("[limits]\n\nflop = 0.1\n", "line 3: got limits.flop, allowed weighted_f1_drop, "),
        ("flips = 0.1\n", "line 1: got flips, allowed limits"),
        ('[limits]\nflips = "many"\n', "Expected `float`, got `str`"),
        ("[gate\n", "is no TOML"),
    ],
)
def test_a_bad_file_of_limits_is_a_usage_error(tmp_path: Path, text: str, sentence: str) -> None:
    file = tmp_path / "gate.toml"
    file.write_text(text)
    with pytest.raises(UsageError) as caught:
        load_limits(file)
    assert sentence in str(caught.value)
