"""The commands about a bundle on this device: `inspect`, `verify`, `bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeleuk.cli.options import BundleOption, ForceOption, JsonOption
from edgeleuk.cli.output import emit
from edgeleuk.io.atomic import overwrite


def inspect(
    bundle: Annotated[
        str, typer.Argument(metavar="BUNDLE", help="A .edgeleuk file, or `default`.")
    ] = "default",
    as_json: JsonOption = False,
) -> None:
    """Print what a bundle holds and says of itself."""
    from edgeleuk.bundle.reading import read_bundle
    from edgeleuk.commands.bundle import bundle_facts, facts_text

    opened = read_bundle(bundle)
    emit(bundle_facts(opened), lambda _: facts_text(opened), as_json=as_json)


def verify(
    file: Annotated[
        str, typer.Argument(metavar="BUNDLE|SESSION", help="A .edgeleuk file, `default`, or a session.")
    ] = "default",
    as_json: JsonOption = False,
) -> None:
    """Check a bundle's hashes and its golden vectors on every runtime, or a session's hash chain."""
    from edgeleuk.session import verify as verifying

    if verifying.names_session(Path(file)):
        found = verifying.verify_session(Path(file))
        emit(found, verifying.verification_text, as_json=as_json)
        if found.broken is not None:
            raise typer.Exit(7)
        return
    from edgeleuk.bundle.reading import read_bundle
    from edgeleuk.classifier.self_test import replay as replay_golden
    from edgeleuk.commands.bundle import replay_facts, replay_text

    opened = read_bundle(file)
    results = replay_golden(opened, by_name=True)
    emit(replay_facts(opened, results), lambda _: replay_text(opened, results), as_json=as_json)
    if any(result.status == "moved" for result in results):
        raise typer.Exit(3)


def bench(
    bundle: BundleOption = None,
    runtime: Annotated[
        str | None,
        typer.Option("--runtime", help="Only this one [default: all there are]."),
    ] = None,
    precision: Annotated[
        str | None, typer.Option("--precision", help="Only `int8` or `float32` [default: all there are].")
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option("--threads", metavar="N", help="1, 2, 4 and so on to N [default: the cores]."),
    ] = None,
    seconds: Annotated[float, typer.Option("--seconds", help="About so long in all.")] = 20.0,
    camera: Annotated[
        str | None,
        typer.Option(
            "--camera",
            metavar="URI",
            help="Time the stages on it; without URI, as `camera probe` [default: a virtual slide].",
        ),
    ] = None,
    ops: Annotated[bool, typer.Option("--ops", help="Time the operations of the ONNX networks.")] = False,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE.png", help="Draw the latencies and the stages.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE.json", help="Store the result, for --compare.")
    ] = None,
    compare: Annotated[
        Path | None, typer.Option("--compare", metavar="OLD.json", help="Compare with a stored result.")
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            "--limit",
            metavar="NAME=VALUE",
            help="Exit with 3 where it is not kept: p95_ms=20; several times.",
        ),
    ] = None,
    as_json: JsonOption = False,
    force: ForceOption = False,
) -> None:
    """Measure what this device really does: networks, stages of the pipeline, starts, memory."""
    overwrite(force=force)
    from edgeleuk.bench import command
    from edgeleuk.io.config import command_settings

    of_command = command_settings({"bundle": bundle}, command="bench")
    request = command.Request(
        runtime=runtime,
        precision=precision,
        threads=threads,
        seconds=seconds,
        # Asked for without an address: the settings may have one. Not asked for: no camera is touched.
        camera=of_command.camera or "" if camera == "" else camera,
        operators=ops,
        limits=tuple(limit or ()),
        compare=compare,
        plot=plot,
        out=out,
    )
    result, error = command.bench(of_command.bundle, request)
    emit(result, command.result_text, as_json=as_json)
    if error is not None:
        raise error
