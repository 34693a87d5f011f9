"""`--runtime auto`: the fastest runtime of the bundle's own that passed its self-test here."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from edgeleuk.bench.machine import SLOW_INT8, read_machine
from edgeleuk.bench.networks import Configuration, configurations, network_case, open_networks, time_cases
from edgeleuk.bench.store import (
    START_SCHEMA_VERSION,
    RuntimeTime,
    StartTimes,
    keep_start,
    kept,
    kept_start,
)
from edgeleuk.bundle.acceptance import refuse_rejected
from edgeleuk.bundle.manifest import MODEL_FILES
from edgeleuk.classifier.self_test import OK
from edgeleuk.errors import BundleError, CheckFailedError, MissingDependencyError
from edgeleuk.inference import RUNTIMES, available_runtimes, require_runtime
from edgeleuk.io.console import say
from edgeleuk.io.kernel import NO_DOT_PRODUCT

if TYPE_CHECKING:
    from edgeleuk.bench.machine import Machine
    from edgeleuk.bench.networks import OpenNetwork
    from edgeleuk.bundle.contents import Bundle
    from edgeleuk.io.settings import RunSettings

# Enough to tell runtimes apart that differ by more than a few per cent; a start should not take longer.
SECONDS = 1.0


class Held(NamedTuple):
    """The runtime of results that are gone on with: one judges all of their cells.

    Attributes
    ----------
    runtime : str
    by : str
        What holds it, as people say it.
    """

    runtime: str
    by: str


class Choice(NamedTuple):
    """A runtime, and why it was taken."""

    runtime: str
    why: str


def settled(settings: RunSettings, bundle: Bundle, held: Held | None = None) -> RunSettings:
    """Put a runtime where the settings leave it to us, and say on standard error which and why.

    Raises
    ------
    EdgeleukError
        As `choose_runtime`.
    """
    if settings.runtime != "auto":
        require_runtime(settings.runtime)
        return settings
    choice = choose_runtime(bundle, settings.precision, settings.threads, held)
    say(f"runtime   {choice.runtime}: {choice.why}")
    return msgspec.structs.replace(settings, runtime=choice.runtime)


def choose_runtime(bundle: Bundle, precision: str, threads: int, held: Held | None = None) -> Choice:
    """Choose a runtime for a bundle: measured once for each bundle, machine and versions of packages.

    Parameters
    ----------
    bundle : Bundle
    precision : str
    threads : int
    held : Held, optional

    Raises
    ------
    UsageError, MissingDependencyError
        As `configurations`.
    CheckFailedError
        The bundle was rejected, or no runtime passed the self-test.
    """
    refuse_rejected(bundle)
    if held is not None:
        return Choice(held.runtime, f"{held.by} was recorded with it")
    # How often the bundle is right was found with these. Others round otherwise: they are asked for by name.
    validated = {MODEL_FILES[name].runtime for name in bundle.manifest.model_names}
    wanted = [
        Configuration(runtime, precision, threads)
        for runtime in dict.fromkeys(one.runtime for one in configurations(bundle, precision=precision))
        if runtime in validated
    ]
    if not wanted:
        raise MissingDependencyError(
            "no runtime that the bundle was validated with is installed",
            allowed=", ".join(available_runtimes()),
            cure=RUNTIMES[MODEL_FILES[bundle.manifest.model_names[0]].runtime].cure,
        )
    machine = read_machine()
    if len(wanted) == 1:
        why = f"the only one that is installed for the bundle's {precision} network"
        choice = Choice(wanted[0].runtime, why)
    else:
        choice = (
            _stored(bundle, machine, wanted)
            or _kept(bundle, machine, wanted)
            or _measured(bundle, machine, wanted)
        )
    if precision == "int8" and machine.int8_dot_product == NO_DOT_PRODUCT:
        return Choice(choice.runtime, f"{choice.why}; {SLOW_INT8}")
    return choice


def _stored(bundle: Bundle, machine: Machine, wanted: list[Configuration]) -> Choice | None:
    stored = kept(bundle, machine)
    if stored is None:
        return None
    rows = {Configuration(row.runtime, row.precision, row.threads): row for row in stored.results}
    if any(one not in rows for one in wanted):
        return None
    passed = {one.runtime: rows[one].p50_ms for one in wanted if rows[one].self_test == OK}
    if not passed:
        return None
    doubt = f", which is suspect ({'; '.join(stored.reasons)})" if stored.reasons else ""
    return _fastest(passed, f"as `edgeleuk bench` measured on this machine{doubt}")


def _kept(bundle: Bundle, machine: Machine, wanted: list[Configuration]) -> Choice | None:
    times = kept_start(bundle, machine, wanted[0].precision, wanted[0].threads)
    if times is None or {time.runtime for time in times.runtimes} != {one.runtime for one in wanted}:
        return None
    passed = {time.runtime: time.p50_ms for time in times.runtimes if time.p50_ms is not None}
    return _fastest(passed, "as an earlier start measured") if passed else None


def _measured(bundle: Bundle, machine: Machine, wanted: list[Configuration]) -> Choice:
    times = _measure(bundle, wanted)
    passed = {time.runtime: time.p50_ms for time in times if time.p50_ms is not None}
    if not passed:
        raise CheckFailedError(
            f"the self-test of {bundle.path.name} failed on every runtime",
            got="; ".join(time.failed for time in times if time.failed is not None),
            cure="look at all of it with `edgeleuk verify`",
        )
    precision, threads = wanted[0].precision, wanted[0].threads
    facts = (START_SCHEMA_VERSION, bundle.sha256, machine.key(), precision, threads)
    keep_start(bundle, machine, StartTimes(*facts, times))
    return _fastest(passed, f"measured for {SECONDS:g} s at this start; `edgeleuk bench` would settle it")


def _measure(bundle: Bundle, wanted: list[Configuration]) -> tuple[RuntimeTime, ...]:
    """Time the runtimes against each other, those that can be used."""
    with ExitStack() as stack:
        networks: list[OpenNetwork] = []
        failed: dict[str, str] = {}
        for one in wanted:
            try:
                (network,) = open_networks(bundle, [one])
            except (MissingDependencyError, BundleError) as error:
                # Installed, and not to be used here: another may be.
                failed[one.runtime] = f"{one.runtime}: {error}"
                continue
            stack.enter_context(network.classifier)
            if network.moved is None:
                networks.append(network)
            else:
                failed[one.runtime] = network.moved
        cases = [network_case(bundle, network) for network in networks]
        timings = time_cases(cases, SECONDS) if cases else []
    times = {
        network.configuration.runtime: float(np.median(np.concatenate(timing.rounds_ms)))
        for network, timing in zip(networks, timings, strict=True)
    }
    return tuple(RuntimeTime(one.runtime, times.get(one.runtime), failed.get(one.runtime)) for one in wanted)


def _fastest(times_ms: dict[str, float], how: str) -> Choice:
    best = min(times_ms, key=lambda runtime: times_ms[runtime])
    others = [f"{runtime} {ms:.1f} ms" for runtime, ms in times_ms.items() if runtime != best]
    against = f", {', '.join(others)}" if others else ", the only one that passed the self-test"
    return Choice(best, f"{times_ms[best]:.1f} ms a cell{against}, {how}")
