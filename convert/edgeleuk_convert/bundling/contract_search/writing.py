"""The contract that was found: for people, as JSON, and as a file that `convert --contract` reads."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec

from edgeleuk_convert.bundling.foreign import InputSettings, OutputSettings

if TYPE_CHECKING:
    from edgeleuk_convert.bundling.contract_search.search import FoundContract

NAMED_AT_MOST = 5
INFERRED = "CONTRACT INFERRED: how pictures become the network's input was found out by the labels, not told"


def found_facts(found: FoundContract) -> dict[str, Any]:
    """Return what ``edgeleuk contract --json`` prints."""
    return {
        "schema_version": 1,
        "way": found.title,
        "input": msgspec.to_builtins(found.input),
        "output": msgspec.to_builtins(found.output),
        "classes": list(found.classes),
        "rescales_itself": found.rescales,
        "auroc": found.auroc,
        "interval_95": [found.low, found.high],
        "cells": found.cells,
        "groups": found.groups,
        "told_apart": not found.alike,
        "runners_up": [
            {"way": of.title, "auroc": of.auroc, "told_apart_by": of.told_apart_by} for of in found.runners_up
        ],
    }


def found_text(facts: dict[str, Any]) -> str:
    """Say what the network wants, how sure that is, and what comes next to it."""
    low, high = facts["interval_95"]
    numbers = ", ".join(f"{place}: {name}" for place, name in enumerate(facts["classes"]))
    single = facts["output"]["kind"] in ("logit", "probability")
    lines = [
        f"fed by    {facts['way']}",
        f"AUROC     {facts['auroc']:.3f} ({low:.3f} to {high:.3f}, 95 %) on {facts['cells']} cells in"
        f" {facts['groups']} groups; a little too good, for the way was chosen on them",
        f"its number rises with   {facts['classes'][1]}" if single else f"classes   {numbers}",
    ]
    if facts["rescales_itself"]:
        lines.append("inside    it rescales its input itself, which is not done a second time")
    alike = [of for of in facts["runners_up"] if of["told_apart_by"] is None]
    others = [of for of in facts["runners_up"] if of["told_apart_by"] is not None]
    for title, ways in (("cannot be told apart from it:", alike), ("worse:", others)):
        if ways:
            lines.append(title)
            lines += [
                f"  AUROC {of['auroc']:.3f}  {of['way']}"
                + (f" (by the {of['told_apart_by']})" if of["told_apart_by"] else "")
                for of in ways[:NAMED_AT_MOST]
            ]
            if len(ways) > NAMED_AT_MOST:
                lines.append(f"  and {len(ways) - NAMED_AT_MOST} more")
    return "\n".join(lines)


# How such a file begins.
CONTRACT_MARK = b"# Found out by the labels of"


def contract_toml(found: FoundContract) -> str:
    """Write ``contract.toml``, with comments that say where it comes from."""
    lines = [
        f"{CONTRACT_MARK.decode()} {found.cells} cells in {found.groups} groups:"
        f" AUROC {found.auroc:.3f} ({found.low:.3f} to {found.high:.3f}).",
        f"# {found.title}",
        *(f"# Cannot be told apart from: {of.title}" for of in found.alike[:NAMED_AT_MOST]),
    ]
    for table, kind, contract in (
        ("input", InputSettings, found.input),
        ("output", OutputSettings, found.output),
    ):
        lines += ["", f"[{table}]"]
        for field in msgspec.structs.fields(kind):
            value = getattr(contract, field.name, None)
            if value is not None and value != field.default:
                lines.append(f"{field.name} = {_toml(msgspec.to_builtins(value))}")
    return "\n".join([*lines, ""])


def _toml(value: Any) -> str:
    """Write a value as TOML; its strings and lists are those of JSON, and its numbers, too."""
    return json.dumps(value)
