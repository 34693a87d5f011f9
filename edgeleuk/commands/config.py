"""``edgeleuk config show``: every setting that holds, and who said so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from edgeleuk.io.config import config_file
from edgeleuk.io.settings import Settings, load_with_sources
from edgeleuk.results.structs import Printed

if TYPE_CHECKING:
    from collections.abc import Mapping


class ExplainedSetting(Printed, frozen=True, kw_only=True):
    """A setting's value, and where it comes from."""

    value: bool | int | float | str | None
    source: Literal["flag", "environment", "file", "default"]


class ExplainedSettings(Printed, frozen=True, kw_only=True):
    """What ``config show`` prints: the file that was read, if any, and each setting by its name."""

    schema_version: int
    file: str | None
    settings: dict[str, ExplainedSetting]


def explained_settings(flags: Mapping[str, object] | None = None) -> ExplainedSettings:
    """Return every setting with its value and its source.

    Raises
    ------
    UsageError
        See `edgeleuk.io.settings.load_settings`.
    """
    file = config_file()
    settings, sources = load_with_sources(Settings, file=file, flags=flags, command="config show")
    return ExplainedSettings(
        schema_version=1,
        file=None if file is None else str(file),
        settings={
            name: msgspec.convert(
                {"value": getattr(settings, name), "source": sources.get(name, "default")}, ExplainedSetting
            )
            for name in sorted(Settings.__struct_fields__)
        },
    )


def explained_text(facts: ExplainedSettings) -> str:
    """Say the same for people: a line for each setting."""
    width = max(map(len, facts.settings))
    lines = [f"file  {facts.file or 'none'}"]
    for name, entry in facts.settings.items():
        value = entry.value
        shown = "-" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
        lines.append(f"{name:{width}}  {shown}  ({entry.source})")
    return "\n".join(lines)
