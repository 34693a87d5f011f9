"""What an examination found: a line for each check, and what they come to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from edgeleuk.errors import CheckFailedError, HardwareError
from edgeleuk.results.structs import Printed
from edgeleuk.version import __version__

if TYPE_CHECKING:
    from edgeleuk.errors import EdgeleukError

State = Literal["ok", "warning", "failure"]
# Beside the word, for the eye that runs down the lines; plain letters, as any terminal can show them.
SYMBOLS: dict[State, str] = {"ok": "+", "warning": "!", "failure": "x"}
# Groups whose failures are of hardware, which has an exit code of its own.
HARDWARE = ("camera", "stage")


class Finding(Printed, frozen=True, kw_only=True):
    """What one check found.

    Attributes
    ----------
    group, name : str
        Which part of the machine it is about, and which thing of it.
    state : str
        ``ok``, ``warning`` (it works, but will not for long or not well) or ``failure``.
    text : str
        What was found.
    cure : str or None
        What helps, where something does.
    """

    group: str = ""
    name: str
    state: State
    text: str
    cure: str | None = None


class Examination(Printed, frozen=True, kw_only=True):
    """What ``edgeleuk doctor --json`` prints.

    Attributes
    ----------
    edgeleuk : str
        The version.
    state : str
        The worst of the findings.
    ok, warnings, failures : int
        How many findings are what.
    findings : tuple of Finding
        By group, in the order of the checks.
    bundle : str or None
        The report that was written for somebody who helps.
    """

    schema_version: int = 1
    edgeleuk: str = __version__
    state: State
    ok: int
    warnings: int
    failures: int
    findings: tuple[Finding, ...]
    bundle: str | None = None

    def failure(self) -> EdgeleukError | None:
        """Return the error that the command ends with; None where nothing failed.

        What is no hardware comes first: a camera cannot be judged by software that does not run.
        """
        failed = [each for each in self.findings if each.state == "failure"]
        if not failed:
            return None
        soft = [each for each in failed if each.group not in HARDWARE]
        kind = CheckFailedError if soft else HardwareError
        named = ", ".join(dict.fromkeys(f"{each.group} {each.name}" for each in (soft or failed)))
        more = f" and {len(failed) - len(soft)} of hardware" if soft and len(soft) < len(failed) else ""
        return kind(
            f"{len(failed)} of {len(self.findings)} checks failed",
            got=named + more,
            cure="do what the lines say behind `cure`, then run `edgeleuk doctor` again",
        )


def ok(name: str, text: str) -> Finding:
    """Say that something is as it should be, or that nothing is known against it."""
    return Finding(name=name, state="ok", text=text)


def warning(name: str, text: str, cure: str) -> Finding:
    """Say that something works, but not well or not for long."""
    return Finding(name=name, state="warning", text=text, cure=cure)


def failure(name: str, text: str, cure: str) -> Finding:
    """Say that something keeps edgeleuk from working."""
    return Finding(name=name, state="failure", text=text, cure=cure)


def examination(findings: tuple[Finding, ...]) -> Examination:
    """Count findings.

    Examples
    --------
    >>> found = examination((ok("memory", "8 GB"), warning("clock", "is late", "wait")))
    >>> found.state, found.ok, found.warnings
    ('warning', 1, 1)
    """
    counts = {state: sum(each.state == state for each in findings) for state in SYMBOLS}
    worst: State = "failure" if counts["failure"] else "warning" if counts["warning"] else "ok"
    return Examination(
        state=worst,
        ok=counts["ok"],
        warnings=counts["warning"],
        failures=counts["failure"],
        findings=findings,
    )


def in_group(group: str, finding: Finding) -> Finding:
    """Return a finding with the group of its check."""
    return msgspec.structs.replace(finding, group=group)


def examination_text(found: Examination) -> str:
    """Say what was found: a line for each check, and under it what helps."""
    width = max((len(each.name) for each in found.findings), default=0)
    lines: list[str] = []
    group = None
    for each in found.findings:
        if each.group != group:
            lines += ([""] if lines else []) + [each.group]
            group = each.group
        lines.append(f"  {SYMBOLS[each.state]} {each.state:<7}  {each.name:<{width}}  {each.text}")
        if each.cure is not None:
            lines.append(f"  {'':<{9 + width}}    cure: {each.cure}")
    lines += [
        "",
        f"{found.ok} ok, {counted(found.warnings, 'warning')}, {counted(found.failures, 'failure')}",
    ]
    if found.bundle is not None:
        lines.append(f"report    {found.bundle}: look into it before you send it")
    return "\n".join(lines)


def counted(number: int, word: str) -> str:
    """Return a number with its word, in the plural where it is one.

    Examples
    --------
    >>> counted(1, "warning"), counted(0, "failure")
    ('1 warning', '0 failures')
    """
    return f"{number} {word}" + "s" * (number != 1)
