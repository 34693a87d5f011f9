"""`edgeleuk bundle`: who made a bundle, who is believed, and how a new one takes the place of an old one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeleuk.cli.groups import Command, command_group
from edgeleuk.cli.options import ConfigOption, ControlOption, ForceOption, JsonOption
from edgeleuk.cli.output import emit
from edgeleuk.errors import UsageError
from edgeleuk.io.atomic import overwrite

bundle_app = command_group("bundle", "Sign bundles, trust keys, and install signed bundles.")


@bundle_app.command("sign", cls=Command)
def sign(
    file: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A .edgeleuk file.")],
    key: Annotated[
        Path | None,
        typer.Option("--key", metavar="FILE.key", help="A secret key of `--new-key`, or of minisign."),
    ] = None,
    new_key: Annotated[
        str | None,
        typer.Option(
            "--new-key", metavar="NAME", help="Make a key: NAME.key, which is secret, and NAME.pub."
        ),
    ] = None,
    series: Annotated[
        str | None,
        typer.Option(
            "--series", metavar="NAME", help="What the bundle is a version of [default: the bundle's name]."
        ),
    ] = None,
    sequence: Annotated[
        int | None,
        typer.Option("--sequence", metavar="N", help="Later ones have more [default: the time in seconds]."),
    ] = None,
    password_file: Annotated[
        Path | None,
        typer.Option("--password-file", metavar="FILE", help="Of an encrypted key [default: ask for it]."),
    ] = None,
    as_json: JsonOption = False,
    force: ForceOption = False,
) -> None:
    """Sign a bundle, so that a device which trusts the key takes it; the signature is minisign's."""
    overwrite(force=force)
    from edgeleuk.commands import signing

    signed = signing.sign_bundle(
        file, key, new_key=new_key, series=series, sequence=sequence, password_file=password_file
    )
    emit(signed, signing.signed_text, as_json=as_json)


@bundle_app.command("trust", cls=Command)
def trust(
    key: Annotated[
        str | None,
        typer.Argument(metavar="[KEY]", help="A .pub file, or the line in it [default: list the keys]."),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="What to call it [default: the file's name].")
    ] = None,
    remove: Annotated[
        str | None, typer.Option("--remove", metavar="NAME", help="Trust this key no more.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Pin a key: from then on only bundles that a pinned key signed run; without KEY list the keys."""
    from edgeleuk.commands import signing

    if key is not None and remove is not None:
        raise UsageError("a key is pinned or removed, not both", cure="leave out one of the two")
    if key is not None:
        found = signing.trust_key(key, name)
    else:
        found = signing.trusted_keys() if remove is None else signing.distrust_key(remove)
    emit(found, signing.keys_text, as_json=as_json)


@bundle_app.command("pull", cls=Command)
def pull(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="https://HOST/NAME.edgeleuk, a file, a folder, or `usb`: every stick that is mounted.",
        ),
    ],
    to: Annotated[
        str,
        typer.Option("--to", metavar="NAME|FILE", help="What `--bundle` then takes: a name, or a file."),
    ],
    again: Annotated[
        bool, typer.Option("--again", help="Take a bundle that was left for the one before it.")
    ] = False,
    control: ControlOption = None,
    control_session: Annotated[
        list[Path] | None,
        typer.Option(
            "--control-session",
            metavar="SESSION",
            help="Of the control slide, which the new bundle is to judge; several times.",
        ),
    ] = None,
    without_control: Annotated[
        bool, typer.Option("--without-control", help="Ask no control slide, though there is one.")
    ] = False,
    plain_http: Annotated[
        bool, typer.Option("--plain-http", help="Take http:// of other machines too.")
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fetch a newer bundle that a pinned key signed, test it, and use it; the one before is kept."""
    from edgeleuk.commands import updates
    from edgeleuk.io.config import command_settings, use_config

    if config is not None:
        use_config(config)
    options = updates.PullOptions(
        plain_http=plain_http,
        again=again,
        control=command_settings({"control": control}, command="bundle pull").control,
        sessions=tuple(control_session or ()),
        controlled=not without_control,
    )
    emit(updates.pull(source, to, options), updates.pulled_text, as_json=as_json)


@bundle_app.command("rollback", cls=Command)
def rollback(
    bundle: Annotated[str, typer.Argument(metavar="NAME|FILE", help="What was given to `pull --to`.")],
    as_json: JsonOption = False,
) -> None:
    """Use the bundle before the newest one again."""
    from edgeleuk.commands import updates

    emit(updates.rollback(bundle), updates.pulled_text, as_json=as_json)
