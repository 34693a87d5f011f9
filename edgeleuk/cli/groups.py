"""What all commands have in common: help in two lengths, examples, words of before, global options."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import typer
import typer.core

from edgeleuk.cli.examples import EXAMPLES
from edgeleuk.cli.renamed import command_now, options_now
from edgeleuk.cli.voice import take_global_options
from edgeleuk.errors import UsageError
from edgeleuk.io.console import printable, write_down

if TYPE_CHECKING:
    from collections.abc import Callable

# Options that few need: they are left out of the short help.
RARE = frozenset(
    (
        *("--abstain", "--most-megapixels", "--precision", "--threads", "--scheduler", "--ops"),
        *("--exposure-ms", "--gain", "--white-balance", "--lock", "--every-frame", "--flat-field"),
        *("--stage-config", "--lamp", "--protocol", "--um-per-step", "--backlash-um", "--picture"),
        *("--allow-leakage", "--random-split", "--answers", "--held-out", "--folds", "--fold", "--seed"),
        *("--strategy", "--calibration-record", "--onnx-calibration", "--tensorrt", "--also", "--int8"),
        *("--at", "--size", "--output", "--tilt", "--drift", "--overlap", "--all-subjects", "--tls-key"),
        *("--split", "--keep-results", "--durability"),
    )
)
# Where the words of the whole command line are kept.
_WORDS = "edgeleuk.words"
# What the help calls a value of which nothing else is said.
_VALUES = {"int": "N", "integer": "N", "float": "X", "Path": "FILE", "path": "FILE"}


def place_of(ctx: Any) -> tuple[str, ...]:
    """Return the words that lead to a command, without the program's own name."""
    words: list[str] = []
    while ctx.parent is not None:
        words.insert(0, ctx.info_name)
        ctx = ctx.parent
    return tuple(words)


class Command(typer.core.TyperCommand):
    """A command of edgeleuk."""

    def __init__(self, *words: Any, **facts: Any) -> None:
        super().__init__(*words, **facts)
        for param in self.params:
            if param.metavar is None and not getattr(param, "is_flag", False):
                param.metavar = _VALUES.get(_kind(param), "NAME")

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take what belongs to all commands out of the words, then parse the rest."""
        if ctx.resilient_parsing:
            # Somebody presses the tabulator key: nothing is to be said or changed.
            return super().parse_args(ctx, args)
        args = take_global_options(options_now(place_of(ctx), args))
        end = args.index("--") if "--" in args else len(args)
        if "--help-all" in args[:end]:
            ctx.meta["edgeleuk.help_all"] = True
            args = ["--help"]
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """Offer ``--help-all`` too, which is no parameter."""
        return super().shell_complete(ctx, incomplete) + _help_all(super().shell_complete, ctx, incomplete)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments and the options, of which the rare ones only where all are asked for."""
        everything = ctx.meta.get("edgeleuk.help_all", False)
        rows: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        left_out = 0
        for param in self.get_params(ctx):
            row = param.get_help_record(ctx)
            if row is None:
                continue
            if not everything and not RARE.isdisjoint(param.opts) and not param.required:
                left_out += 1
                continue
            if param.param_type_name == "argument":
                # Some versions of Typer add the Python type.
                rows["Arguments"].append((str(param.metavar), row[1]))
            else:
                rows["Options"].append(row)
        if left_out:
            rows["Options"].append(("--help-all", f"Show the other {left_out} options too."))
        for title, of_title in rows.items():
            if of_title:
                with formatter.section(title):
                    formatter.write_dl(of_title)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write examples as they are typed: a line that is wrapped cannot be copied."""
        with formatter.section("Examples"):
            for line in EXAMPLES.get(place_of(ctx), ()):
                formatter.write(f"{'':>{formatter.current_indent}}edgeleuk {line}\n")


class Group(typer.core.TyperGroup):
    """A group of commands, in which a wrong word shows no password."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Understand ``--help-all`` here as well."""
        if ctx.parent is None:
            ctx.meta[_WORDS] = args
        try:
            return super().parse_args(
                ctx, ["--help" if word == "--help-all" else word for word in args[:1]] + args[1:]
            )
        except Exception as error:
            _tell(ctx, error)
            raise

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """Offer ``--help-all`` too, as `Command.shell_complete`."""
        return super().shell_complete(ctx, incomplete) + _help_all(super().shell_complete, ctx, incomplete)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Understand the words of before."""
        args = [command_now((*place_of(ctx), args[0]), silent=ctx.resilient_parsing), *args[1:]]
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Hide passwords in what the parser says of a wrong command line."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            _tell(ctx, error)
            raise


def command_group(name: str, sentence: str, *, completion: bool = False) -> typer.Typer:
    """Make a group of commands."""
    return typer.Typer(
        cls=Group,
        name=name,
        help=sentence,
        no_args_is_help=True,
        add_completion=completion,
        # Plain help: drawing it with rich would load rich for every start.
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def _help_all(complete: Callable[..., list[Any]], ctx: Any, incomplete: str) -> list[Any]:
    """Return what completes a word to ``--help-all``: made as ``--help`` is, with Typer of any version."""
    if not incomplete or not "--help-all".startswith(incomplete):
        return []
    return [
        type(item)("--help-all", help="Show all options.")
        for item in complete(ctx, "--help")
        if item.value == "--help"
    ]


def _tell(ctx: Any, error: Exception) -> None:
    """Hide passwords in what the parser says, and write it to the log file, once: Typer prints it later."""
    # Of which class it is depends on Typer's version.
    if not hasattr(error, "format_message") or not hasattr(error, "message"):
        return
    from edgeleuk.io.uris import public_text

    error.message = public_text(str(error.message))
    if ctx.parent is not None or ctx.resilient_parsing or type(error).__name__ == "NoArgsIsHelpError":
        return
    # The log may be named behind what is wrong, where nobody has looked yet.
    with suppress(UsageError):
        take_global_options(ctx.meta.get(_WORDS, []))
    write_down(f"error: {printable(str(error.format_message()))}")


def _kind(param: Any) -> str:
    """Name a parameter's Python type, with Typer of any version."""
    described = getattr(param, "type_descriptor", None)
    if described is None:
        return str(param.type.name)
    kind = described.annotation
    return getattr(kind, "__name__", str(kind))
