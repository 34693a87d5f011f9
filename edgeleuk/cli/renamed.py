"""Words of before that are still understood, with a warning that names the new one."""

from __future__ import annotations

_QUALITY_CHECK = {"--gate": "--quality-check", "--no-gate": "--no-quality-check"}
_LIMITS = {"--gate": "--limits"}
OPTIONS: dict[tuple[str, ...], dict[str, str]] = {
    ("run",): _QUALITY_CHECK,
    ("classify",): _QUALITY_CHECK,
    ("segment",): _QUALITY_CHECK,
    ("validate",): _LIMITS,
    ("compare",): _LIMITS,
    ("convert",): _LIMITS | {"--calibration-card": "--calibration-record"},
}
COMMANDS: dict[tuple[str, ...], str] = {("stage", "calibrate"): "map"}


def options_now(command: tuple[str, ...], words: list[str]) -> list[str]:
    """Put the new names of a command's options in the place of the old ones.

    Examples
    --------
    >>> options_now(("convert",), ["--limits=any.toml", "--", "--gate"])
    ['--limits=any.toml', '--', '--gate']
    """
    renamed = OPTIONS.get(command)
    if renamed is None:
        return words
    end = words.index("--") if "--" in words else len(words)
    return [_now(word, renamed) for word in words[:end]] + words[end:]


def command_now(command: tuple[str, ...], *, silent: bool = False) -> str:
    """Return what the last word of a command is called now."""
    now = COMMANDS.get(command)
    if now is None:
        return command[-1]
    if not silent:
        _warn(" ".join(command), " ".join((*command[:-1], now)))
    return now


def _now(word: str, renamed: dict[str, str]) -> str:
    name, equals, value = word.partition("=")
    if name not in renamed:
        return word
    _warn(name, renamed[name])
    return renamed[name] + equals + value


def _warn(old: str, new: str) -> None:
    from edgeleuk.io.console import warn

    warn(f"`{old}` is now called `{new}`; the old word goes with the next version")
