"""The model: card, figures of its validation, line of descent, hashes, and the settings of the run."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from edgeleuk.io.console import printable
from edgeleuk.io.page import described, row, section, table
from edgeleuk.reports.markdown import markdown_html

if TYPE_CHECKING:
    from edgeleuk.reports.beside import Beside, Model
    from edgeleuk.reports.facts import SessionFacts


def model(facts: SessionFacts, beside: Beside) -> str:
    """Return the section of the model."""
    report = facts.report
    known = {
        "Bundle": str(report.bundle),
        "Hash of the bundle": str(report.bundle_sha256),
        "Last link of the session": "none" if report.chain is None else report.chain.head,
    }
    parts = [described({name: f"<code>{escape(printable(text))}</code>" for name, text in known.items()})]
    if isinstance(beside.model, str):
        parts.append(f"<p><strong>{escape(printable(beside.model))}</strong></p>")
    else:
        parts += _of_bundle(beside.model)
    parts += ["<h3>Settings of the run</h3>", _settings(facts)]
    if not isinstance(beside.model, str):
        parts += ["<h3>Model card</h3>", markdown_html(beside.model.card)]
    return section("Model", *parts, css="page")


def _of_bundle(model: Model) -> list[str]:
    counted = [
        f"{n:,} {what}"
        for n, what in ((model.cells, "cells"), (model.subjects, "subjects"), (model.groups, "groups"))
        if n is not None
    ]
    parts = [
        "<h3>Validation on held-out cells</h3>",
        f"<p>{escape(printable(model.verdict))} Judged on {', '.join(counted) or 'uncounted cells'}.</p>",
    ]
    if model.networks:
        names = list(model.networks[0].figures)
        rows = [
            row([escape(of.network), *(escape(of.figures[name]) for name in names)]) for of in model.networks
        ]
        caption = "Figures with their 95 % intervals, from a bootstrap over groups"
        parts.append(table(["network", *names], rows, caption=caption))
    for title, lines in (("Heads", model.heads), ("Line of descent, the oldest first", model.descent)):
        if lines:
            items = "".join(f"<li>{escape(printable(line))}</li>" for line in lines)
            parts += [f"<h3>{title}</h3>", f"<ol>{items}</ol>"]
    hashes = [row([escape(name), f"<code>{escape(digest)}</code>"]) for name, digest in model.members.items()]
    parts += ["<h3>Hashes of its files</h3>", table(["file", "sha256"], hashes, css="text")]
    return parts


def _settings(facts: SessionFacts) -> str:
    # Those are said above, or stand under two names.
    left_out = {
        "known_error",
        "bundle",
        "bundle_sha256",
        "camera",
        "edgeleuk",
        "simulated",
        "gate",
        "known_kinds",
    }
    said = {
        name: "not set" if value is None else value
        for name, value in facts.settings.items()
        if name not in left_out
    }
    if not said:
        return "<p>The session recorded none.</p>"
    lines = {escape(name): escape(printable(str(value))) for name, value in said.items()}
    return described(lines, css="two")
