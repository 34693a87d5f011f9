"""`run --runtime auto`: the fastest runtime that passed the bundle's self-test on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from edgeleuk.bench.machine import read_machine
from edgeleuk.bench.networks import Configuration, configurations, network_case, open_networks, time_cases
from edgeleuk.bench.store import kept
from edgeleuk.console import say
from edgeleuk.errors import BundleError, GateFailedError, MissingDependencyError
from edgeleuk.record import read_session
from edgeleuk.selftest import OK

if TYPE_CHECKING:
    from pathlib import Path

    from edgeleuk.bench.networks import OpenNetwork
    from edgeleuk.bundle.reading import Bundle
    from edgeleuk.config import RunSettings

# Enough to tell runtimes apart that differ by more than a few per cent; a start should not take longer.
SECONDS = 1.0


class Choice(NamedTuple):
    """A runtime, and why it was taken."""

    runtime: str
    why: str


def settled(settings: RunSettings, bundle: Bundle, resumed: Path | None = None) -> RunSettings:
    """Put a runtime where the settings leave it to us, and say on standard error which and why.

    Raises
    ------
    EdgeleukError
        As `choose_runtime`.
    """
    choice = choose_runtime(bundle, settings.precision, settings.threads, resumed)
    say(f"runtime   {choice.runtime}: {choice.why}")
    return msgspec.structs.replace(settings, runtime=choice.runtime)


def choose_runtime(bundle: Bundle, precision: str, threads: int, resumed: Path | None = None) -> Choice:
    """Choose a runtime for a bundle.

    Parameters
    ----------
    bundle : Bundle
    precision : str
    threads : int
    resumed : Path, optional
        A session to go on with: one runtime judges all of its cells.

    Raises
    ------
    UsageError, MissingDependencyError
        As `configurations`.
    GateFailedError
        No runtime passed the self-test.
    """
    if resumed is not None and (before := _recorded(resumed)) is not None:
        return Choice(before, f"the session {resumed} was recorded with it")
    wanted = [
        Configuration(runtime, precision, threads)
        for runtime in dict.fromkeys(one.runtime for one in configurations(bundle, precision=precision))
    ]
    if len(wanted) == 1:
        return Choice(
            wanted[0].runtime, f"the only one that is installed for the bundle's {precision} network"
        )
    return _stored(bundle, wanted) or _measured(bundle, wanted)


def _recorded(session: Path) -> str | None:
    if not session.is_file():
        return None
    with read_session(session) as reader:
        before = reader.settings.get("runtime")
    return before if isinstance(before, str) else None


def _stored(bundle: Bundle, wanted: list[Configuration]) -> Choice | None:
    stored = kept(bundle, read_machine())
    if stored is None:
        return None
    rows = {Configuration(row.runtime, row.precision, row.threads): row for row in stored.results}
    if any(one not in rows for one in wanted):
        return None
    passed = {one: rows[one].p50_ms for one in wanted if rows[one].self_test == OK}
    if not passed:
        return None
    doubt = f", which is suspect ({'; '.join(stored.reasons)})" if stored.reasons else ""
    return _fastest(passed, f"as `edgeleuk bench` measured on this machine{doubt}")


def _measured(bundle: Bundle, wanted: list[Configuration]) -> Choice:
    networks: list[OpenNetwork] = []
    moved: list[str] = []
    try:
        for one in wanted:
            try:
                networks += open_networks(bundle, [one])
            except (MissingDependencyError, BundleError) as error:
                # Installed, and not to be used here: another may be.
                moved.append(f"{one.runtime}: {error}")
        moved += [network.moved for network in networks if network.moved is not None]
        passed = [network for network in networks if network.moved is None]
        if not passed:
            raise GateFailedError(
                f"the self-test of {bundle.path.name} failed on every runtime",
                got="; ".join(moved),
                cure="look at all of it with `edgeleuk verify`",
            )
        timings = time_cases([network_case(bundle, network) for network in passed], SECONDS)
    finally:
        for network in networks:
            network.classifier.close()
    times = {
        network.configuration: float(np.median(np.concatenate([np.asarray(r) for r in timing.rounds_ms])))
        for network, timing in zip(passed, timings, strict=True)
    }
    return _fastest(times, f"measured for {SECONDS:g} s at this start; `edgeleuk bench` would settle it")


def _fastest(times_ms: dict[Configuration, float], how: str) -> Choice:
    best = min(times_ms, key=lambda one: times_ms[one])
    others = [f"{one.runtime} {ms:.1f} ms" for one, ms in times_ms.items() if one != best]
    against = f", {', '.join(others)}" if others else ", the only one that passed the self-test"
    return Choice(best.runtime, f"{times_ms[best]:.1f} ms a cell{against}, {how}")
