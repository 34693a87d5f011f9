"""Turn the facts of a report into one self-contained page; every number on it stands in ``report.json``."""

from __future__ import annotations

import re
from html import escape, unescape
from typing import TYPE_CHECKING, Any

from edgeleuk.io.page import heading, image, row, section, stamped, table
from edgeleuk_convert.reports.page import NOTHING, Show, gallery_cell, whole
from edgeleuk_convert.reports.tripod import tripod_appendix

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeleuk_convert.reports.report_plots import Figures

    Facts = Mapping[str, Any]

# Metric, its name, and which of the counts under `n` it is from.
METRICS = (
    ("weighted_f1", "weighted F1", "cells"),
    ("accuracy", "accuracy", "cells"),
    ("auroc", "AUROC", "cells"),
    ("sensitivity", "sensitivity (blasts called blasts)", "blast_cells"),
    ("specificity", "specificity (normal cells called normal)", "normal_cells"),
    ("subject_sensitivity_mean", "sensitivity, mean of subjects", "blast_subjects"),
    ("subject_specificity_mean", "specificity, mean of subjects", "normal_subjects"),
    ("ece", "expected calibration error (lower is better)", "cells"),
    ("baseline_area_auroc", "AUROC of the cell's area by itself", "cells"),
)
_TITLE = re.compile(r"<h2>(.*?)</h2>")
TITLES = {key: title for key, title, _ in METRICS}
COMPARED = (
    ("weighted_f1", "weighted F1"),
    ("auroc", "AUROC"),
    ("sensitivity", "sensitivity"),
    ("specificity", "specificity"),
    ("subject_specificity_mean", "specificity, mean of subjects"),
    ("ece", "calibration error"),
)
VERDICTS = {
    "better": "The model is better than the forest on 14 plain numbers",
    "worse": "The model is WORSE than the forest on 14 plain numbers",
    "undecided": "It is NOT shown that the model is better than the forest on 14 plain numbers",
}


def render(facts: Facts, figures: Figures, thumbnails: Mapping[str, bytes]) -> str:
    """Write the page.

    Parameters
    ----------
    facts : mapping
        The content of ``report.json``.
    figures : Figures
    thumbnails : mapping of str to bytes
        File of a worst cell to its JPEG.
    """
    show = Show(facts)
    sections = _sections(show, figures, thumbnails)
    titles = [unescape(title) for title in _TITLE.findall("".join(sections))]
    parts = [
        stamped(facts["stamp"]),
        heading(f"{escape(facts['model'])}: {_claim(facts)}", facts["research_use"]),
        _opening(show),
        *sections,
        tripod_appendix(titles),
        f"<p><small>edgeleuk {escape(facts['edgeleuk'])}. Cells from {escape(facts['data'])}. The same"
        " numbers stand in report.json beside this page.</small></p>",
        stamped(facts["stamp"]),
    ]
    return whole(f"report on {facts['model']}", parts)


def _sections(show: Show, figures: Figures, thumbnails: Mapping[str, bytes]) -> list[str]:
    """Return the parts that have a title; some are empty."""
    return [
        _metrics(show),
        _baselines(show),
        _gaps(show),
        _per_subject(show, figures.subjects),
        _confusion(show),
        section("ROC", image(figures.roc, "ROC curves of the model and the baselines")),
        section(
            "Does 80 % mean 80 %?",
            image(figures.reliability, "Share of blasts against the probability given"),
            f"<p>Expected calibration error {show('ece')} (n = {show('n.cells', ',d')} cells, 15 bins).</p>",
        ),
        _hard_fold(show),
        _worst(show, thumbnails),
        _left_out(show),
    ]


def _claim(facts: Facts) -> str:
    """Say no more than is known of what the model has seen."""
    if facts["leakage_allowed"]:
        return "judged with leakage allowed"
    if facts["stamp"]:
        return "trained with leakage allowed"
    if not facts["record_known"]:
        return "judged on cells that it may have seen"
    return "what it is worth on subjects it has never seen"


def _opening(show: Show) -> str:
    known = (
        "Cells of any group that the model was trained on are left out"
        f" ({show('left_out', ',d')} cells; named at the end)."
        if show.facts["record_known"]
        else "<strong>There is no training record: nobody knows whether these cells were seen.</strong>"
    )
    if show.facts["leakage_allowed"]:
        known = "<strong>Nothing was left out: leakage was allowed.</strong>"
    return (
        f"<p>Judged on n = {show('cells', ',d')} cells ({show('n.blast_cells', ',d')} blasts,"
        f" {show('n.normal_cells', ',d')} normal) of {show('subjects', 'd')} subjects"
        f" ({show('n.blast_subjects', 'd')} with blasts, {show('n.normal_subjects', 'd')} healthy) in"
        f" {show('groups', 'd')} groups. {known}</p>"
        f"<p>A cell is called a blast from a probability of {show('threshold', '.2f')} on.</p>"
    )


def _metrics(show: Show) -> str:
    rows = [
        row([
            escape(title),
            show(key),
            show.interval(f"interval_95.{key}"),
            f"{show(f'n.{n}', ',d')} {escape(n.replace('_', ' '))}",
        ])
        for key, title, n in METRICS
    ]  # fmt: skip
    return section(
        "Numbers",
        table(["", "value", "95 % interval", "n"], rows),
        f"<p><small>Intervals: {show('resamples', ',d')} draws of whole groups with replacement. Cells of one"
        " subject resemble each other, so that few subjects mean a wide interval however many cells there"
        " are.</small></p>",
    )


def _baselines(show: Show) -> str:
    rows = []
    for number, entry in enumerate(show.facts["compared"]):
        at = f"compared.{number}"
        rows.append(
            row(
                [
                    escape(entry["title"]),
                    *(
                        f"{show(f'{at}.{key}')}<br><small>{show.interval(f'{at}.interval_95.{key}')}</small>"
                        for key, _ in COMPARED
                    ),
                ],
                css="model" if entry["name"] == "model" else "",
            )
        )
    fitted = "<p>There are too few groups to fit a baseline on.</p>"
    if show.facts["baselines_fitted_on"]:
        fitted = (
            f"<p>Fitted on {escape(show.facts['baselines_fitted_on']['what'])}"
            f" (n = {show('baselines_fitted_on.cells', ',d')} cells of"
            f" {show('baselines_fitted_on.groups', 'd')} groups); every row is judged on the same"
            f" n = {show('cells', ',d')} cells of {show('subjects', 'd')} subjects.</p>"
        )
    against = show.facts["against_forest"] or {}
    verdicts = [
        f"<p><strong>{escape(VERDICTS[one['verdict']])}</strong> in {title}:"
        f" {show(f'against_forest.{key}.difference', 'pt')} points (95 % interval"
        f" {show.interval(f'against_forest.{key}.interval_95', 'pt')}, the same n = {show('cells', ',d')}"
        f" cells of {show('groups', 'd')} groups).</p>"
        for key, title in COMPARED
        if (one := against.get(key))
    ]
    return section(
        "Beside what plain numbers reach",
        fitted,
        *verdicts,
        table(["", *(escape(title) for _, title in COMPARED)], rows),
    )


def _gaps(show: Show) -> str:
    parts = []
    for number, gap in enumerate(show.facts["split_gaps"]):
        at = f"split_gaps.{number}"
        rows = []
        for key, values in gap["metrics"].items():
            one = f"{at}.metrics.{key}"
            interval = show.interval(f"{one}.interval_95", "pt") if values["interval_95"] else NOTHING
            cells = [
                escape(TITLES[key]),
                show(f"{one}.grouped"),
                show(f"{one}.random"),
                show(f"{one}.gap", "pt"),
                interval,
            ]
            rows.append(row(cells))
        head = [
            escape(gap["title"]),
            f"split by group<br><small>n = {show(f'{at}.grouped_cells', ',d')} cells</small>",
            f"split by image, at random<br><small>n = {show(f'{at}.random_cells', ',d')} cells</small>",
            "too good by, points",
            "95 % interval",
        ]
        parts.append(
            f"<p>{escape(gap['title'])}: a random split makes weighted F1 look"
            f" {show(f'{at}.metrics.weighted_f1.gap', 'pt')} points better, AUROC"
            f" {show(f'{at}.metrics.auroc.gap', 'pt')}.</p>" + table(head, rows)
        )
    if not parts:
        return ""
    return section(
        "What a random split would have claimed",
        "<p>When images are split at random, cells of one child stand on both sides and a method is praised"
        " for knowing the child. The same method, judged both ways:</p>",
        *parts,
    )


def _per_subject(show: Show, picture: bytes) -> str:
    rows = []
    for number, entry in enumerate(show.facts["subjects_table"]):
        at = f"subjects_table.{number}"
        rows.append(
            row([
                escape(entry["subject"]),
                escape(entry["group"]),
                escape(entry["label"]),
                show(f"{at}.cells", ",d"),
                show(f"{at}.right", ",d"),
                show(f"{at}.share", ".1%"),
                show.interval(f"{at}.wilson_95", ".1%"),
            ])
        )  # fmt: skip
    head = ["subject", "group", "truth", "n cells", "called right", "share", "95 % interval (Wilson)"]
    return section(
        "Subject by subject, the worst first",
        image(picture, "Share of cells called right for each subject"),
        table(head, rows),
        "<p><small>Wilson's interval takes the cells of a subject for independent; it says nothing of the"
        " next subject.</small></p>",
    )


def _confusion(show: Show) -> str:
    rows = [
        row([
            f"{truth} cells (n = {show(f'n.{truth}_cells', ',d')})",
            *(show(f"confusion.{truth}_called_{called}", ",d") for called in ("blast", "normal")),
        ])
        for truth in ("blast", "normal")
    ]  # fmt: skip
    return section("Confusion", table(["truth", "called blast", "called normal"], rows))


def _hard_fold(show: Show) -> str:
    hard = show.facts["hard_fold"]
    if hard is None:
        return ""
    rows = [
        row([escape(entry["title"]), show(f"hard_fold.auroc.{number}.auroc")])
        for number, entry in enumerate(hard["auroc"])
    ]
    return section(
        f"The hard subjects: official {hard['fold']}",
        f"<p>Their healthy cells are as large as blasts. n = {show('hard_fold.blast_cells', ',d')} blasts and"
        f" {show('hard_fold.normal_cells', ',d')} normal cells of {show('hard_fold.subjects', 'd')}"
        " subjects.</p>",
        table(["", "AUROC"], rows),
    )


def _worst(show: Show, thumbnails: Mapping[str, bytes]) -> str:
    parts = []
    for label, entries in show.facts["worst"].items():
        cells = []
        for number, entry in enumerate(entries):
            picture = thumbnails.get(entry["file"])
            said = "called wrong" if entry["wrong"] else "called right"
            probability = show(f"worst.{label}.{number}.probability")
            caption = f"{probability} {said}<br>{escape(entry['file'])}"
            cells.append(gallery_cell(picture, f"{label} cell", caption))
        parts.append(
            f"<h3>{escape(label.capitalize())} cells, n = {len(cells)} of"
            f" {show(f'n.{label}_cells', ',d')}</h3>"
            f'<div class="cells">{"".join(cells)}</div>'
        )
    return section(
        "The worst cells",
        "<p>Farthest from the truth first, all at one scale, with the probability of blast given.</p>",
        *parts,
    )


def _left_out(show: Show) -> str:
    groups = show.facts["left_out_groups"]
    if not groups:
        return section("Left out", "<p>Nothing was left out.</p>")
    rows = [
        row([
            escape(entry["group"]),
            escape(", ".join(entry["subjects"])),
            show(f"left_out_groups.{number}.cells", ",d"),
        ])
        for number, entry in enumerate(groups)
    ]  # fmt: skip
    return section(
        "Left out, because the model has seen the group",
        f"<p>{len(groups)} groups, n = {show('left_out', ',d')} cells.</p>",
        table(["group", "subjects", "n cells"], rows),
    )
