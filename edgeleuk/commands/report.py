"""``edgeleuk report SESSION --html FILE``: a session's page, and what stands beside the session on it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from edgeleuk.bundle.manifest import CARD
from edgeleuk.bundle.reading import DEFAULT_PATH, read_bundle
from edgeleuk.bundle.validation import read_validation
from edgeleuk.commands.bundle import descent_lines, head_lines, training_stamp, verdict_text
from edgeleuk.control.limits import out_of_range
from edgeleuk.control.measures import MEASURES, measure_session
from edgeleuk.control.store import control_path, read_control
from edgeleuk.control.verdicts import verdicts_of
from edgeleuk.control.watch import control_text, findings_text, laboratory_range
from edgeleuk.errors import SessionError, UsageError
from edgeleuk.io.atomic import part_of, require_replaceable, write_errors_of
from edgeleuk.reports.beside import Beside, Estimate, MeasureRow, Model, Quality, Reviewed, Validated
from edgeleuk.reports.facts import session_facts
from edgeleuk.reports.gallery import DEFAULT_PICTURES, MOST_PICTURES
from edgeleuk.reports.pdf import find_chromium, is_our_pdf, print_page
from edgeleuk.reports.session_page import session_page
from edgeleuk.results.structs import ControlOfRun
from edgeleuk.review.desk import ReviewDesk
from edgeleuk.session.reader import read_session
from edgeleuk.session.writing import is_our_page, require_not_session

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edgeleuk.bundle.contents import Bundle
    from edgeleuk.bundle.validation import Network
    from edgeleuk.control.entries import Measured
    from edgeleuk.control.limits import Limits
    from edgeleuk.counting.stratified import ShareEstimate
    from edgeleuk.session.reader import SessionReader
    from edgeleuk.session.report import SessionReport

# Subjects of a measure that tell of the optics, not of the slide's cells.
_OPTICS = ("light", "focus", "stain", "scale")
_FIGURES = (
    ("weighted_f1", "weighted F1"),
    ("auroc", "AUROC"),
    ("sensitivity", "sensitivity"),
    ("specificity", "specificity"),
    ("ece", "calibration error"),
)


@dataclass(frozen=True, slots=True)
class PageOptions:
    """What a page is asked for, beside the session.

    Attributes
    ----------
    bundle : str, optional
        The bundle's file; without it the shipped one, where it is the session's.
    control : Path, optional
        The laboratory's file of control sessions.
    pictures : int
        Of each kind of cell, at most; 0 leaves the gallery out.

    Raises
    ------
    UsageError
        The number of pictures is out of range.
    """

    bundle: str | None = None
    control: Path | None = None
    pictures: int = DEFAULT_PICTURES

    def __post_init__(self) -> None:
        if not 0 <= self.pictures <= MOST_PICTURES:
            raise UsageError(
                "the number of pictures is out of range", got=self.pictures, allowed=f"0 to {MOST_PICTURES}"
            )


_PLAIN = PageOptions()


def page_options(bundle: str | None, control: str | None, pictures: int | None) -> PageOptions:
    """Return the options, by what was named of them; ``default`` is the user's own control file.

    Raises
    ------
    UsageError
        See `PageOptions` and `control_path`.
    """
    return PageOptions(
        bundle,
        None if control is None else control_path(control),
        DEFAULT_PICTURES if pictures is None else pictures,
    )


def write_page(session: Path, out: Path, options: PageOptions = _PLAIN) -> None:
    """Write the page; it takes the place of `out` when it is complete; see `write_pages`."""
    write_pages(session, out, None, options)


def write_pages(
    session: Path, html: Path | None, pdf: Path | None, options: PageOptions = _PLAIN
) -> SessionReport:
    """Write a session's page as HTML, as PDF, or both, and return what it sums up.

    Raises
    ------
    UsageError, MissingDependencyError, CheckFailedError
        See `require_outputs` and `write_outputs`.
    UsageError, SessionError, BundleError, IntegrityError
        See `page_of`.
    """
    require_outputs((session,), html, pdf)
    page, report = _page_and_report(session, options)
    write_outputs(page, html, pdf)
    return report


def require_outputs(sessions: Sequence[Path], html: Path | None, pdf: Path | None) -> None:
    """Refuse what can be refused before a page is made.

    Parameters
    ----------
    sessions : sequence of Path
        That are never overwritten.
    html, pdf : Path, optional

    Raises
    ------
    UsageError
        A file cannot be written, or is not ours.
    MissingDependencyError
        A PDF is asked for, and there is no Chromium.
    """
    for out, flag, is_ours in ((html, "--html", is_our_page), (pdf, "--pdf", is_our_pdf)):
        if out is not None:
            for session in sessions:
                require_not_session(out, session, flag)
            require_replaceable(out, is_ours, flag)
            if not out.parent.is_dir():
                raise UsageError(
                    f"{out} cannot be written", got="no such folder", cure=f"choose another {flag}"
                )
    if pdf is not None:
        find_chromium()


def write_outputs(page: str, html: Path | None, pdf: Path | None) -> None:
    """Write a page as HTML, as PDF, or both; each takes the place of what was there when it is complete.

    Raises
    ------
    UsageError
        A file cannot be written.
    MissingDependencyError, CheckFailedError
        See `print_page`.
    """
    if html is not None:
        _replace(html, page.encode(), "--html")
    if pdf is not None:
        _replace(pdf, print_page(page), "--pdf")


def _replace(out: Path, data: bytes, flag: str) -> None:
    with write_errors_of(out, f"choose another {flag}"), part_of(out) as (_, file):
        file.write(data)


def page_of(session: Path, options: PageOptions = _PLAIN) -> str:
    """Return the page.

    Raises
    ------
    UsageError
        There is no such session or bundle, or the bundle is another than the session's.
    SessionError, BundleError, IntegrityError
        The session, the bundle or the control sessions are damaged.
    """
    return _page_and_report(session, options)[0]


def _page_and_report(session: Path, options: PageOptions) -> tuple[str, SessionReport]:
    with read_session(session) as reader:
        facts = session_facts(reader)
        beside = Beside(
            quality=_quality(reader, options.control),
            model=_model(facts.report.bundle_sha256, options.bundle),
            reviewed=_reviewed(reader),
        )
        return session_page(reader, facts, beside, options.pictures), facts.report


def _quality(reader: SessionReader, control: Path | None) -> Quality:
    """Measure light, focus and stain, and hold them against the laboratory's control sessions."""
    if "focus" not in reader.columns("cells"):
        return Quality((), "An earlier version recorded the session, without focus and light.")
    measures = measure_session(reader).measures
    limits, verdict = _control(reader, control, measures)
    broken = {one.measure: one.distance for one in out_of_range(measures, limits)}
    rows = []
    for name, measure in MEASURES.items():
        if name not in measures or measure.subject not in _OPTICS:
            continue
        of, said, means = limits.get(name), "", ""
        if of is not None:
            means = f"{of.mean:.{measure.digits}f}, SD {of.deviation:.{measure.digits + 1}f}"
            said = f"OUT OF RANGE, {broken[name]:+.1f} SD" if name in broken else "within range"
        value = f"{measures[name].value:.{measure.digits}f}"
        rows.append(MeasureRow(measure.subject, measure.title, value, means, said))
    return Quality(rows, verdict)


def _control(
    reader: SessionReader, control: Path | None, measures: dict[str, Measured]
) -> tuple[dict[str, Limits], str]:
    """Return the laboratory's limits for a session, and its verdict in a sentence."""
    of_summary = (reader.summary or {}).get("control")
    said = ""
    if isinstance(of_summary, dict):
        # As the run itself found it.
        run = _of_run(of_summary)
        said = (
            ""
            if run is None
            else f"When it was recorded: {control_text(run).removeprefix('control').strip()}."
        )
    if control is None:
        return (
            {},
            said or "No control sessions were at hand, so that no range is known; pass them with --control.",
        )
    head = reader.chain_end()
    own = next((one for one in verdicts_of(read_control(control)) if one.sha256 == head), None)
    if own is not None:
        said += f" It is control session {own.number} of slide {own.slide}: {own.state}."
    settings = reader.settings
    scale = settings.get("px_per_um")
    laboratory = laboratory_range(
        control,
        str(settings.get("bundle_sha256")),
        float(scale) if isinstance(scale, int | float) else None,
        simulated=settings.get("simulated") is True,
    )
    if not laboratory.limits:
        return {}, f"{said} Control: {laboratory.trouble}.".strip()
    found = out_of_range(measures, laboratory.limits)
    held = (
        f"OUT OF the laboratory's range: {findings_text(found)}" if found else "within the laboratory's range"
    )
    last = laboratory.judged[-1]
    westgard = f"the last control session of slide {laboratory.slide} by Westgard's rules: {last.state}"
    return dict(laboratory.limits), f"{said} Light, focus, stain and scale: {held}; {westgard}.".strip()


def _of_run(recorded: dict[str, object]) -> ControlOfRun | None:
    try:
        return msgspec.convert(recorded, ControlOfRun)
    except msgspec.ValidationError:
        return None


def _reviewed(reader: SessionReader) -> Reviewed | str:
    """Return the counts after a review, or why there are none."""
    if next(reader.rows("reviews"), None) is None:
        return "the session holds no person's review"
    try:
        with ReviewDesk(reader.path) as desk:
            state = desk.state()
    except SessionError as error:
        return f"the session's reviews cannot be told ({error})"
    counts = state.counts
    reasons = dict.fromkeys(one.reviewed.reason for one in counts.names if one.reviewed.reason)
    notes = [f"No number for some: {reason}." for reason in reasons]
    notes += [
        f"{' and '.join(one.people)} call {one.observed:.0%} of {one.cells} cells alike"
        + ("." if one.kappa is None else f" (kappa {one.kappa:.2f}).")
        for one in state.agreements
    ]
    if state.conflicts:
        notes.append(
            f"On {len(state.conflicts)} cells readers contradict one another: they count as uncertain."
        )
    if state.left:
        notes.append(f"{state.left} of the {state.asked} cells that are worth a look are left.")
    return Reviewed(
        looked_at=state.reviewed,
        cells=state.cells,
        readers=[one.reader for one in state.readers],
        counts={
            one.name: (one.machine, Estimate(one.reviewed.estimate, one.reviewed.low, one.reviewed.high))
            for one in counts.names
        },
        of_white=_estimate(counts.blasts_of_white_cells.reviewed),
        of_lymphoid=_estimate(counts.blasts_of_lymphoid_cells.reviewed),
        notes=notes,
    )


def _estimate(of: ShareEstimate) -> Estimate:
    return Estimate(of.share, of.low, of.high)


def _model(recorded: str | None, named: str | None) -> Model | str:
    """Return what the bundle's file tells, or why it tells nothing.

    Raises
    ------
    UsageError, BundleError
        A bundle was named that cannot be read, or is not the session's.
    """
    if named is not None:
        bundle = read_bundle(named)
        if bundle.sha256 == recorded:
            return _facts_of(bundle)
        raise UsageError(
            "the bundle is another than the session's",
            got=bundle.sha256[:16],
            allowed=str(recorded)[:16],
            cure="pass the --bundle that the session was recorded with",
        )
    # To open it takes longer than to hash it.
    if hashlib.sha256(DEFAULT_PATH.read_bytes()).hexdigest() == recorded:
        return _facts_of(read_bundle(DEFAULT_PATH))
    return (
        "The bundle's file is not at hand: card, validation and line of descent are not shown."
        " Pass it with --bundle."
    )


def _facts_of(bundle: Bundle) -> Model:
    said, stamp = read_validation(bundle), training_stamp(bundle)
    networks = said.networks()
    first = networks[0] if networks else None
    return Model(
        path=bundle.path.name,
        sha256=bundle.sha256,
        verdict=f"{stamp + '. ' if stamp else ''}int8 {verdict_text(bundle)}.",
        cells=None if first is None else first.cells,
        subjects=None if first is None else first.subjects,
        groups=None if first is None else first.groups,
        networks=[
            Validated(name, _figures(network))
            for name in ("reference", "tflite_int8", "onnx_int8", "tensorrt_int8")
            if (network := getattr(said, name)) is not None
        ],
        heads=head_lines(bundle),
        descent=descent_lines(bundle),
        members={name: member.sha256 for name, member in bundle.manifest.members.items()},
        card=bundle.members[CARD].decode(errors="replace"),
    )


def _figures(network: Network) -> dict[str, str]:
    found = {}
    for name, title in _FIGURES:
        value = getattr(network, name)
        low, high = network.interval_95.get(name, (None, None))
        interval = "" if low is None or high is None else f" ({low:.3f} to {high:.3f})"
        found[title] = "not known" if value is None else f"{value:.3f}{interval}"
    return found
