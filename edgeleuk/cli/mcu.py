"""`edgeleuk mcu`: the part of the command line that takes networks to microcontrollers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeleuk.cli.groups import Command, command_group
from edgeleuk.cli.options import JsonOption
from edgeleuk.cli.output import emit

mcu_app = command_group("mcu", "Take a network to a microcontroller.")
BundleArgument = Annotated[
    str, typer.Argument(metavar="BUNDLE", help="A .edgeleuk file, or `default` for the shipped one.")
]


@mcu_app.command("check", cls=Command)
def mcu_check(
    bundle: BundleArgument,
    flash: Annotated[str, typer.Option("--flash", metavar="SIZE", help="What the board has, as 1M or 512K.")],
    ram: Annotated[str, typer.Option("--ram", metavar="SIZE", help="The same, as 256K.")],
    vela: Annotated[
        str | None,
        typer.Option("--vela", metavar="ETHOS_U", help="Compile it with Vela, such as for ethos-u55-128."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say whether a network fits a microcontroller, and what makes it too large."""
    from edgeleuk.bundle.reading import read_bundle
    from edgeleuk.deploy.microcontroller import beside_network, deployed_model
    from edgeleuk_firmware_bridge.commands import mcu as mcu_commands
    from edgeleuk_firmware_bridge.commands.results import FITS
    from edgeleuk_firmware_bridge.mcu import export as mcu

    read = read_bundle(bundle)
    model = deployed_model(read)
    beside = beside_network(read, mcu.output_widths(model))
    facts = mcu_commands.check(model, beside, flash=flash, ram=ram, vela=vela)
    emit(facts, mcu_commands.check_text, as_json=as_json)
    if facts.verdict != FITS:
        raise typer.Exit(3)


@mcu_app.command("export", cls=Command)
def mcu_export(
    bundle: BundleArgument,
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where the files go.")],
    golden: Annotated[
        int, typer.Option("--golden", metavar="N", help="Golden cells, each as large as the input tensor.")
    ] = 2,
    as_json: JsonOption = False,
) -> None:
    """Write a bundle as C: TFLite Micro runs the network, and plain C makes its answer a probability."""
    from edgeleuk.bundle.trusted import read_trusted_bundle
    from edgeleuk.deploy.microcontroller import deployed_model, deployment_of
    from edgeleuk_firmware_bridge.commands import mcu as mcu_commands
    from edgeleuk_firmware_bridge.mcu import export as mcu

    read = read_trusted_bundle(bundle)
    mcu.refuse_file(out)
    # What TFLite Micro lacks is named before LiteRT is asked, which may lack it too.
    mcu.portable_graph(deployed_model(read))
    facts = mcu_commands.export(deployment_of(read, golden), out)
    emit(facts, mcu_commands.export_text, as_json=as_json)
