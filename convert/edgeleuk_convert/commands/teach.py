"""``edgeleuk teach``: a laboratory's labels become the heads of a bundle of its own, on the device itself."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Literal, Protocol

import msgspec

from edgeleuk.bundle.descent import Taught
from edgeleuk.bundle.manifest import REFERENCE, VALIDATION
from edgeleuk.bundle.reading import read_bundle
from edgeleuk.bundle.reference import decode_reference
from edgeleuk.bundle.writing import require_bundle_place, write_bundle
from edgeleuk.errors import DataRefusedError
from edgeleuk.inference import available_runtimes
from edgeleuk.io.console import printable, progress_bar, say, warn
from edgeleuk.results.kinds import LYMPHOID
from edgeleuk.results.queued import Queue  # noqa: TC001 - msgspec looks at it
from edgeleuk.results.structs import Printed
from edgeleuk.version import RESEARCH_USE
from edgeleuk_convert.commands.convert import rejected_path
from edgeleuk_convert.environment import require_writable
from edgeleuk_convert.teaching.measuring import measure
from edgeleuk_convert.teaching.rebuilding import TaughtHeads, rebuilt
from edgeleuk_convert.teaching.tasks import kind_of
from edgeleuk_convert.teaching.taught import HeadResult, Teaching, card_notes, teach_heads, teaching_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from edgeleuk.bundle.contents import Bundle
    from edgeleuk_convert.teaching.measuring import Labelled

UNNAMED = "a laboratory that gave no name"


class Labels(Protocol):
    """Labelled cells; see `edgeleuk.labels.label_set.LabelSet`."""

    @property
    def sha256(self) -> str:
        """Of all that the labels say."""
        ...

    def __iter__(self) -> Iterator[Labelled]:
        """Go through the cells in a stable order."""
        ...


@dataclass(frozen=True, slots=True)
class TeachOptions:
    """What teaching is asked for.

    Attributes
    ----------
    laboratory : str, optional
        Whose cells they are; kept in the bundle.
    runtime : str, optional
        By default the first that is installed.
    threads : int
    seed : int
        Of parts and draws.
    force : bool
        Make the bundle also where the heads are not shown to be better; it says so.
    """

    laboratory: str | None = None
    runtime: str | None = None
    threads: int = 1
    seed: int = 0
    force: bool = False


class TeachResult(Printed, frozen=True, kw_only=True):
    """What ``edgeleuk teach --json`` prints.

    Attributes
    ----------
    bundle : str
        Where it is; ``NAME.rejected.edgeleuk`` where it was refused.
    parent, parent_sha256 : str
        The bundle that was taught.
    labels_sha256 : str
    runtime : str
        That measured the cells.
    heads : tuple of HeadResult
    reasons : tuple of str
        Why it is refused; empty where it is not.
    next : Queue or None
        Which cells to label next, where sessions were given.
    """

    schema_version: int = 1
    bundle: str
    parent: str
    parent_sha256: str
    laboratory: str
    labels_sha256: str
    runtime: str
    cells: int
    slides: int
    heads: tuple[HeadResult, ...]
    verdict: Literal["pass", "fail", "forced"]
    reasons: tuple[str, ...]
    next: Queue | None = None
    research_use: str = RESEARCH_USE


def teach(bundle: str, labels: Labels, out: Path, options: TeachOptions) -> TeachResult:
    """Teach a bundle by labelled cells and write the taught one.

    Parameters
    ----------
    bundle : str
        A bundle's path, or ``default``; it is never changed.
    labels : Labels
    out : Path
    options : TeachOptions

    Raises
    ------
    DataRefusedError
        There are no cells, or they tell nothing apart.
    UsageError, BundleError, MissingDependencyError
        See `read_bundle`, `require_bundle_place` and `measure`.
    """
    require_writable(out)
    require_bundle_place(out)
    opened = read_bundle(bundle)
    cells = list(labels)
    if not cells:
        raise DataRefusedError("there are no labelled cells", cure="label some: see `edgeleuk labels --help`")
    runtime = options.runtime or available_runtimes()[0]
    with progress_bar("measuring") as bar:
        seen = measure(cells, opened, runtime=runtime, threads=options.threads, progress=bar)
    data = opened.members.get(REFERENCE)
    reference = None if data is None else decode_reference(data)
    teaching = teach_heads(
        opened, seen, reference, seed=options.seed, progress=lambda what: say(f"teaching  {what}")
    )
    taught = {of.head for of in teaching.results}
    if "blast" not in taught and LYMPHOID & {kind_of(label) for label in seen.label}:
        warn(
            "no blasts are labelled, so that what tells blasts from normal cells stays as it was; lymphocytes"
            " that look unlike the training cells stay uncertain until blasts are labelled, too"
        )
    verdict: Literal["pass", "fail", "forced"] = "pass"
    if teaching.reasons:
        verdict = "forced" if options.force else "fail"
    facts = Taught(
        parent_sha256=opened.sha256,
        parent_name=opened.manifest.name,
        laboratory=options.laboratory or UNNAMED,
        labels_sha256=labels.sha256,
        cells=len(cells),
        slides=len(set(seen.slide.tolist())),
        at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        choice="; ".join(f"{of.head}: {of.choice}" for of in teaching.results),
        heads=tuple(of.head for of in teaching.results),
        forced=verdict == "forced",
    )
    heads = _heads(opened, teaching, verdict)
    manifest, members = rebuilt(opened, heads, facts, card_notes(teaching), name=out.stem)
    place = rejected_path(out) if verdict == "fail" else out
    write_bundle(place, manifest, members)
    return TeachResult(
        bundle=str(place),
        parent=opened.manifest.name,
        parent_sha256=opened.sha256,
        laboratory=facts.laboratory,
        labels_sha256=labels.sha256,
        runtime=runtime,
        cells=facts.cells,
        slides=facts.slides,
        heads=teaching.results,
        verdict=verdict,
        reasons=teaching.reasons,
    )


def _heads(opened: Bundle, teaching: Teaching, verdict: str) -> TaughtHeads:
    rules, old = teaching.rules, teaching.before
    before = msgspec.json.decode(opened.members[VALIDATION])
    said = {"pass": "pass", "forced": "undecided", "fail": "fail"}[verdict]
    return TaughtHeads(
        output=rules.output,
        envelope=rules.envelope,
        gate=rules.gate,
        statistics=rules.statistics,
        blast=rules.blast_head if rules.blast_head is not old.blast_head else None,
        kind=rules.kind_head if rules.kind_head is not old.kind_head else None,
        kind_contract=rules.kind,
        reference=opened.members.get(REFERENCE),
        subjects=teaching.subjects,
        validation=before | teaching.facts | {"verdict": said, "reasons": list(teaching.reasons)},
    )


def with_queue(result: TeachResult, queue: Queue) -> TeachResult:
    """Add which cells to label next."""
    return msgspec.structs.replace(result, next=queue)


def teach_text(result: TeachResult, below: Sequence[str] = ()) -> str:
    """Say what teaching came to, and what else is to be said."""
    lines = [
        f"{printable(result.bundle)}: {printable(result.parent)}, taught by {result.cells} cells of"
        f" {result.slides} slides of {printable(result.laboratory)}",
        *teaching_text(result.heads),
    ]
    if result.verdict == "forced":
        lines.append("forced: it is not shown to be better than before, and says so")
    elif result.verdict == "fail":
        lines.append("rejected: it is there to be looked at; the device refuses it")
    return "\n".join([*lines, *below, RESEARCH_USE])
