"""Turn the facts of a validation into one self-contained page; see `edgeleuk_convert.reports.page`."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from edgeleuk.io.page import heading, image, row, section, stamped, table
from edgeleuk_convert.metrics.acceptance import verdict_words
from edgeleuk_convert.reports.page import Show, gallery_cell, whole

if TYPE_CHECKING:
    from collections.abc import Mapping

    Facts = Mapping[str, Any]

# Of each network; a network that flips more is not mended by looking at each.
GALLERY = 60
LAYERS = 30
DROPS = (
    ("weighted_f1", "weighted F1"),
    ("accuracy", "accuracy"),
    ("auroc", "AUROC"),
    ("sensitivity", "sensitivity (blasts called blasts)"),
    ("specificity", "specificity (normal cells called normal)"),
    ("subject_sensitivity_mean", "sensitivity, mean of subjects"),
    ("subject_specificity_mean", "specificity, mean of subjects"),
)
LIMITS = (
    ("weighted_f1_drop", "drop of weighted F1, and its upper 95 % bound, points", "pt2"),
    ("sensitivity_drop", "drop of sensitivity, and its upper 95 % bound, points", "pt2"),
    ("flips", "share of decisions that flip", ".2%"),
    ("probability_change", "change of any cell's probability", ".3f"),
)
CLAIMS = {
    "pass": "int8 keeps to the limits",
    "fail": "int8 loses TOO MUCH",
    "undecided": "it is NOT shown that int8 keeps to the limits",
}


def render(facts: Facts, scatter: bytes, thumbnails: Mapping[str, bytes], layers: bytes | None) -> str:
    """Write the page.

    Parameters
    ----------
    facts : mapping
        The content of ``validation.json``.
    scatter : bytes
        PNG of int8 against float probabilities.
    thumbnails : mapping of str to bytes
        File of a cell to its JPEG.
    layers : bytes or None
        PNG of the noise of each layer.
    """
    show = Show(facts)
    parts = [
        stamped(facts["stamp"]),
        heading(f"{escape(facts['bundle'])}: {CLAIMS[facts['verdict']]}", facts["research_use"]),
        _opening(show),
        _verdict(show),
        _drops(show),
        _changes(show),
        section(
            "Every cell, float against int8",
            image(scatter, "int8 against float probability of every cell"),
            "<p><small>Dotted: the threshold. Dashed: the change that is allowed.</small></p>",
        ),
        *(_flips(show, key, thumbnails) for key in facts["models"]),
        _worst_subjects(show),
        _layers(show, layers),
        _calibration(show),
        f"<p><small>edgeleuk {escape(facts['edgeleuk'])}. Bundle {escape(facts['bundle_sha256'][:16])}. Cells"
        f" from {escape(facts['data'])}. The same numbers stand in validation.json beside this"
        " page.</small></p>",
        stamped(facts["stamp"]),
    ]
    return whole(f"validation of {facts['bundle']}", parts)


def _opening(show: Show) -> str:
    return (
        f"<p>int8 against float on n = {show('reference.cells', ',d')} cells of"
        f" {show('reference.subjects', 'd')} subjects in {show('reference.groups', 'd')} groups that the"
        " network has never seen, through the preprocessing and the runtimes of the device. A cell is called"
        f" a blast from a probability of {show('threshold')} on.</p>"
    )


def _verdict(show: Show) -> str:
    reasons = "".join(f"<li>{escape(reason)}</li>" for reason in show.facts["reasons"])
    keys = show.facts["models"]
    got = {
        "weighted_f1_drop": ("weighted_f1_drop", "weighted_f1_drop_upper_95"),
        "sensitivity_drop": ("sensitivity_drop", "sensitivity_drop_upper_95"),
        "flips": ("flip_rate",),
        "probability_change": ("max_probability_change",),
    }
    rows = [
        row([
            escape(title),
            show(f"limits.{limit}", form),
            *(" / ".join(show(f"{key}.{name}", form) for name in got[limit]) for key in keys),
        ])
        for limit, title, form in LIMITS
    ]  # fmt: skip
    return section(
        f"Verdict: {verdict_words(show.facts)}",
        f"<ul>{reasons}</ul>" if reasons else "<p>Every limit is kept.</p>",
        table(["", "allowed", *map(escape, keys)], rows),
    )


def _drops(show: Show) -> str:
    parts = []
    for key in show.facts["models"]:
        rows = [
            row([
                escape(title),
                show(f"reference.{metric}", ".4f"),
                show(f"{key}.{metric}", ".4f"),
                show(f"{key}.{metric}_drop", "pt2"),
                show(f"{key}.{metric}_drop_upper_95", "pt2"),
            ])
            for metric, title in DROPS
        ]  # fmt: skip
        parts.append(
            table([escape(key), "float32", "int8", "drop, points", "at most, upper 95 % bound"], rows)
        )
    return section(
        "What is lost",
        *parts,
        "<p><small>Bounds: draws of whole groups with replacement, the same for both networks. A drop below"
        " zero is a gain.</small></p>",
    )


def _changes(show: Show) -> str:
    keys = show.facts["models"]
    lines = (
        ("decisions that flip", "flips", ",d"),
        ("share of all decisions", "flip_rate", ".2%"),
        ("flips from right to wrong", "mcnemar.lost", ",d"),
        ("flips from wrong to right", "mcnemar.gained", ",d"),
        ("p-value that both are alike (McNemar, exact)", "mcnemar.p", ".3f"),
        ("largest change of a probability", "max_probability_change", ".3f"),
        ("mean change of a probability", "mean_probability_change", ".4f"),
        ("change of the expected calibration error", "ece_change", "+.4f"),
        ("share of cells that the device calls uncertain", "uncertain", ".1%"),
    )
    rows = [
        row([escape(title), *(show(f"{key}.{name}", form) for key in keys)]) for title, name, form in lines
    ]
    moved = "; ".join(f"{escape(key)}: {escape(show.facts[key]['most_changed']['file'])}" for key in keys)
    return section(
        "What changes",
        table(["", *map(escape, keys)], rows),
        f"<p><small>The probability that changes most is that of {moved}.</small></p>",
    )


def _flips(show: Show, key: str, thumbnails: Mapping[str, bytes]) -> str:
    entries = show.facts[key]["flipped"]
    title = f"Flipped by {key}"
    if not entries:
        return section(title, "<p>No decision flips.</p>")
    cells = []
    for number, entry in enumerate(entries[:GALLERY]):
        at = f"{key}.flipped.{number}"
        caption = (
            f"float {show(f'{at}.probability_float')}<br>int8 {show(f'{at}.probability_int8')}<br>"
            f"<strong>{escape(entry['truth'])}</strong>, subject {escape(entry['subject'])}<br>"
            f"margin {show(f'{at}.margin')}<br><small>{escape(entry['file'])}</small>"
        )
        cells.append(gallery_cell(thumbnails.get(entry["file"]), f"{entry['truth']} cell", caption))
    return section(
        title,
        f"<p>n = {len(cells)} of {show(f'{key}.flips', ',d')}, the furthest from the threshold (by float)"
        " first, with both probabilities of blast and the truth.</p>",
        f'<div class="cells">{"".join(cells)}</div>',
    )


def _worst_subjects(show: Show) -> str:
    rows = []
    for key in show.facts["models"]:
        worst = show.facts[key]["worst_subject"]
        if worst is None:
            rows.append(row([escape(key), "no subject loses", *[""] * 5]))
            continue
        at = f"{key}.worst_subject"
        rows.append(
            row([
                escape(key),
                escape(worst["subject"]),
                show(f"{at}.cells", ",d"),
                show(f"{at}.accuracy_float", ".1%"),
                show(f"{at}.accuracy_int8", ".1%"),
                show(f"{at}.drop", "pt2"),
                f"<small>{'<br>'.join(map(escape, worst['flipped']))}</small>",
            ])
        )  # fmt: skip
    head = ["", "subject", "n cells", "right, float", "right, int8", "drop, points", "cells that flip"]
    return section("The subject that loses most", table(head, rows))


def _layers(show: Show, plot: bytes | None) -> str:
    layers = show.facts.get("layers")
    if not layers:
        return ""
    rows = [
        row(
            [
                escape(entry["name"]),
                escape(entry["op"]),
                escape(entry["network"]),
                show(f"layers.{number}.own_sqnr_db", ".1f"),
                show(f"layers.{number}.sqnr_db", ".1f"),
            ]
        )
        for number, entry in enumerate(layers[:LAYERS])
    ]
    return section(
        "Layers, the worst first",
        f"<p>Signal over noise, over {show('layers_images', 'd')} cells: what a layer adds to its own input,"
        f" and with all that came before; n = {len(rows)} of {len(layers)} layers.</p>",
        table(["layer", "kind", "network", "signal to noise that it adds, dB", "in all, dB"], rows),
        image(plot, "signal to quantization noise of every layer") if plot else "",
    )


def _calibration(show: Show) -> str:
    card = show.facts["calibration"]
    rows = [
        row(
            [
                escape(one["subject"]),
                escape(one["label"]),
                show(f"calibration.by_subject.{number}.images", "d"),
            ]
        )
        for number, one in enumerate(card["by_subject"])
    ]
    return section(
        "Calibration",
        f"<p>{show('calibration.images', ',d')} images of subjects seen in training, chosen"
        f" {escape(card['strategy'])} with seed {show('calibration.seed', 'd')}.</p>",
        table(["subject or group", "truth", "n images"], rows),
    )
