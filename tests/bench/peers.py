"""The product beside what else could be used: the same cells and fields, in one run.

Each peer works in a process of its own and waits for its turn, so that only one is busy at a time; every
round begins with another. One thread each, unless the table says otherwise. What is not installed is named
and left out. Prints tables (Markdown) on standard output and each bar on standard error, and writes both with
all rounds as JSON; exits 3 when a bar is missed, 4 when one could not be measured.

    make bench-peers
    python tests/bench/peers.py [--rounds 10] [--cells 1000] [--fields 20] [--out runs/peers] [--only KEY ...]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE / "peers"), str(HERE), str(ROOT)]

from contest import (  # noqa: E402
    BARE,
    BARE_FLOAT,
    KERAS,
    PEERS,
    PRODUCT,
    PRODUCT_FIELDS,
    SKIMAGE,
    ULTRALYTICS,
    Of,
    Peer,
)
from material import Truth, data_folder, lay_out  # noqa: E402
from process import FailedError, PeerProcess  # noqa: E402
from segmentation import hits_of, is_whole  # noqa: E402

from edgeleuk.bench.machine import (  # noqa: E402
    machine_facts,
    others_share,
    read_cpu_time,
    read_machine,
    read_state,
)
from edgeleuk.frames import Box  # noqa: E402


class Bar(NamedTuple):
    """How long one may take beside another."""

    name: str
    one: str
    other: str
    limit: float
    at_most: bool


BARS = (
    Bar("a crop through the product, of a bare int8 LiteRT loop", PRODUCT, BARE, 1.10, at_most=True),
    Bar("keras.Model.predict one at a time, of the product", KERAS, PRODUCT, 10, at_most=False),
    Bar("Ultralytics classify, of the product", ULTRALYTICS, PRODUCT, 3, at_most=False),
    Bar("scikit-image, of the product's gate and segmentation", SKIMAGE, PRODUCT_FIELDS, 5, at_most=False),
    Bar("int8 LiteRT, of float32", BARE, BARE_FLOAT, 0.5, at_most=True),
)


@dataclass
class Row:
    """What is known of one peer.

    Attributes
    ----------
    peer : Peer
    facts : dict
        Versions and a remark.
    ms : list of float
        Of a cell or field, one for each round.
    found : list of list of Box
        In each field that it was given, in their order.
    reason : str or None
        Why there are no figures.
    """

    peer: Peer
    facts: dict[str, Any] = field(default_factory=dict)
    ms: list[float] = field(default_factory=list)
    found: list[list[Box]] = field(default_factory=list)
    reason: str | None = None


def main() -> int:
    """Measure, print, and judge."""
    asked = _asked()
    folder = asked.out.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    print("drawing cells and fields", file=sys.stderr)
    truth = lay_out(folder, asked.cells, asked.fields, data_folder(ROOT))
    rows = {peer.key: Row(peer) for peer in PEERS if asked.only is None or peer.key in asked.only}
    before, cpu = read_state(), read_cpu_time()
    with ExitStack() as opened:
        processes = {}
        for key, row in rows.items():
            print(f"opening {key}", file=sys.stderr)
            try:
                processes[key] = opened.enter_context(PeerProcess(row.peer, folder))
                row.facts = processes[key].facts
            except FailedError as error:
                row.reason = str(error)
        for number in range(asked.rounds):
            print(f"round {number + 1} of {asked.rounds}", file=sys.stderr)
            keys = list(processes)
            begins = number % max(len(keys), 1)
            for key in keys[begins:] + keys[:begins]:
                _take_turn(rows[key], processes, number, asked)
        for key in list(processes):
            if rows[key].peer.of is Of.FIELDS and rows[key].peer.judged and truth.boxes:
                _ask(rows[key], processes, asked.fields, asked.fields + len(truth.boxes))
    facts = {
        "schema_version": 1,
        "machine": machine_facts(read_machine()).to_json(),
        "before": before.printed().to_json(),
        "after": read_state().printed().to_json(),
        "others_share": others_share(cpu, read_cpu_time()),
        "rounds": asked.rounds,
        "cells": asked.cells,
        "fields": asked.fields,
    }
    return _report(list(rows.values()), truth, facts, folder / "peers.json")


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--cells", type=int, default=1000)
    parser.add_argument("--fields", type=int, default=20)
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "peers")
    parser.add_argument("--only", nargs="+", choices=[peer.key for peer in PEERS])
    asked = parser.parse_args()
    if asked.rounds < 1 or min(asked.cells, asked.fields) < asked.rounds:
        parser.error("expected a round at least, and a cell and a field for each")
    return asked


def _take_turn(row: Row, processes: dict[str, PeerProcess], number: int, asked: argparse.Namespace) -> None:
    """Let a peer do its part of a round."""
    total = asked.cells if row.peer.of is Of.CELLS else asked.fields
    first, last = (total * n // asked.rounds for n in (number, number + 1))
    seconds = _ask(row, processes, first, last)
    if seconds is not None:
        row.ms.append(1000 * seconds / (last - first))


def _ask(row: Row, processes: dict[str, PeerProcess], first: int, last: int) -> float | None:
    """Let a peer do cells or fields `first` to `last`; one that fails has no figures and no more turns."""
    try:
        answer = processes[row.peer.key].turn(first, last)
    except FailedError as error:
        row.reason, row.ms, row.found = str(error), [], []
        del processes[row.peer.key]
        return None
    row.found += [[Box(*box) for box in boxes] for boxes in answer["found"] or []]
    return float(answer["seconds"])


def _report(rows: list[Row], truth: Truth, facts: dict[str, Any], path: Path) -> int:
    """Write and print everything; return the exit code."""
    known = {row.peer.key: row for row in rows if row.ms}
    bars = {bar.name: judged(bar, known) for bar in BARS}
    peers = {
        row.peer.key: {
            "label": row.peer.label,
            "threads": row.peer.threads,
            **row.facts,
            "ms": row.ms,
            "missing": row.reason,
            "quality": quality(row, truth),
        }
        for row in rows
    }
    path.write_text(json.dumps({**facts, "bars": bars, "peers": peers}, indent=1) + "\n", encoding="utf-8")
    print(_tables(rows, known, truth))
    for bar in BARS:
        found = bars[bar.name]
        word = {True: "met   ", False: "MISSED", None: "no figures"}[found["met"]]
        measured = "" if found["measured"] is None else f" {found['measured']:.2f}"
        print(f"{word}{measured}  {bar.name} {'<=' if bar.at_most else '>='} {bar.limit}", file=sys.stderr)
    share = facts["others_share"]
    others = "unknown" if share is None else f"{share:.0%}"
    print(f"others' share of the cores: {others}; all rounds: {path}", file=sys.stderr)
    verdicts = [found["met"] for found in bars.values()]
    return 3 if False in verdicts else 4 if None in verdicts else 0


def judged(bar: Bar, known: dict[str, Row]) -> dict[str, Any]:
    """Hold the rounds of two against a bar; nothing is met or missed where one of them has no figures."""
    if bar.one not in known or bar.other not in known:
        return {"measured": None, "quartiles": None, "limit": bar.limit, "met": None}
    low, ratio, high = ratios(known[bar.one], known[bar.other])
    met = ratio <= bar.limit if bar.at_most else ratio >= bar.limit
    return {"measured": ratio, "quartiles": [low, high], "limit": bar.limit, "met": met}


def ratios(one: Row, other: Row) -> tuple[float, float, float]:
    """Quartiles over the rounds of how many times as long one takes as the other."""
    low, middle, high = np.percentile(np.array(one.ms) / np.array(other.ms), [25, 50, 75])
    return float(low), float(middle), float(high)


def quality(row: Row, truth: Truth) -> dict[str, float] | None:
    """F1 of what was found, by centre; of BCCD's cells by an overlap of half as well."""
    if not row.found or not row.peer.judged:
        return None
    drawn = truth.drawn[: len(row.found)]
    counts = np.sum([_drawn_hits(f, t) for f, t in zip(row.found, drawn, strict=False)], axis=0)
    result = {"virtual_f1": _f1(*counts)}
    photographed = row.found[len(truth.drawn) :]
    if photographed:
        hits = [hits_of(found, true) for found, true in zip(photographed, truth.boxes, strict=True)]
        all_found, all_true = (sum(map(len, boxes)) for boxes in (photographed, truth.boxes))
        for rule in ("centre", "overlap"):
            result[f"bccd_f1_{rule}"] = _f1(sum(hit[rule] for hit in hits), all_found, all_true)
    return result


def _drawn_hits(found: list[Box], truth: Any, width: int = 1280, height: int = 960) -> tuple[int, int, int]:
    """Hits, found and true cells of a drawn field; what the border cuts counts neither for nor against."""
    left = list(truth)
    hits = counted = 0
    for box in found:
        x, y = box.centre
        near = [true for true in left if np.hypot(x - true.x, y - true.y) < 0.6 * true.radius_px]
        at_border = box.x <= 0 or box.y <= 0 or box.x + box.w >= width or box.y + box.h >= height
        if near:
            left.remove(near[0])
        whole = bool(near) and is_whole(near[0], width, height)
        hits += whole
        counted += whole or (not near and not at_border)
    return hits, counted, sum(is_whole(true, width, height) for true in truth)


def _f1(hits: int, found: int, true: int) -> float:
    return float(2 * hits / (found + true))


def _tables(rows: list[Row], known: dict[str, Row], truth: Truth) -> str:
    """Two tables, of cells and of fields, each beside the product, and the versions."""
    lines = []
    for of, product, title in (
        (Of.CELLS, PRODUCT, "a cell"),
        (Of.FIELDS, PRODUCT_FIELDS, "a field of 1280x960"),
    ):
        own = [row for row in rows if row.peer.of is of]
        if not own:
            continue
        found = ["F1: virtual / BCCD"] if of is Of.FIELDS else []
        head = [title, "threads", "ms", "times the product (middle half)", *found, "what"]
        lines += [_line(head), "|" + "---|" * len(head)]
        for row in own:
            f1 = [_found(quality(row, truth))] if of is Of.FIELDS else []
            what = row.reason or row.facts["remark"]
            lines.append(
                _line([row.peer.label, row.peer.threads, *_figures(row, known.get(product)), *f1, what])
            )
        lines.append("")
    versions = {name: number for row in rows for name, number in row.facts.get("versions", {}).items()}
    return "\n".join(
        [*lines, ", ".join(f"{name} {number}" for name, number in sorted(versions.items())) + "."]
    )


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _figures(row: Row, product: Row | None) -> tuple[str, str]:
    if not row.ms:
        return "", ""
    ms = f"{statistics.median(row.ms):.2f}"
    if product is None or row is product:
        return ms, "1"
    low, middle, high = ratios(row, product)
    return ms, f"{middle:.2f} ({low:.2f} to {high:.2f})"


def _found(measured: dict[str, float] | None) -> str:
    if measured is None:
        return ""
    text = f"{measured['virtual_f1']:.3f}"
    return f"{text} / {measured['bccd_f1_centre']:.3f}" if "bccd_f1_centre" in measured else text


if __name__ == "__main__":
    sys.exit(main())
