"""The reference pages of the site, made from the code: `make docs` calls this by mkdocs' hook.

Nothing here is written into the repository, so that no page can be older than the code.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from edgeleuk.errors import EdgeleukError

ROOT = Path(__file__).resolve().parents[1]
REPOSITORY_PAGES = ("CONTRIBUTING.md", "CHANGELOG.md")


def pages() -> dict[str, str]:
    """Return all pages that are not written by hand: their place in the site, and their Markdown."""
    return {
        "index.md": _in_site((ROOT / "README.md").read_text()),
        **{name.lower(): _in_site((ROOT / name).read_text()) for name in REPOSITORY_PAGES},
        "reference/commands.md": commands_page(),
        "reference/settings.md": settings_page(),
        "reference/json.md": json_page(),
        "reference/exit-codes.md": exit_codes_page(),
        "reference/api.md": api_page(),
    }


def _in_site(text: str) -> str:
    """Bring the links of a page that lies beside ``docs`` to where the site has their targets."""
    text = re.sub(r"\]\(docs/", "](", text)
    for name in REPOSITORY_PAGES:
        text = text.replace(f"]({name})", f"]({name.lower()})")
    # The licence is no page of the site: its name remains.
    return re.sub(r"\[([^\]]+)\]\(LICENSE\)", r"\1", text)


def _cell(text: object) -> str:
    """Write a text so that it fits into one cell of a table."""
    one_line = re.sub(r"\s+", " ", str(text)).strip().replace("``", "`")
    return one_line.replace("|", "\\|").replace("<", "&lt;")


def _table(titles: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    lines = [titles, ("---",) * len(titles), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


# Commands


def leaves(group: Any, names: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Walk over a click tree: the words of each command, and the command."""
    for name, command in sorted(group.commands.items()):
        if hasattr(command, "commands"):
            yield from leaves(command, (*names, name))
        else:
            yield (*names, name), command


def commands_page() -> str:
    """Write every command with its arguments and options, also those that the short help leaves out."""
    from typer.main import get_command

    from edgeleuk.cli.app import app

    root = get_command(app)
    parts = [
        "# Commands",
        "Made from the command line itself. `--help` shows the same.",
        _options(root, "edgeleuk"),
    ]
    for words, command in leaves(root):
        title = "edgeleuk " + " ".join(words)
        parts += [f"## {title}", _as_markdown(command.help or ""), _options(command, title)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _as_markdown(text: str) -> str:
    return inspect.cleandoc(text).replace("\b", "").replace("<", "&lt;")


def _options(command: Any, title: str) -> str:
    context = command.context_class(command, info_name=title)

    def rows() -> Iterator[tuple[str, ...]]:
        for parameter in command.get_params(context):
            shown = parameter.get_help_record(context)
            names, words = shown or (", ".join(parameter.opts), getattr(parameter, "help", None) or "")
            yield f"`{_cell(names).replace('&lt;', '<')}`", _cell(words)

    return _table(("option", "what"), rows())


# Settings


def documented(structure: type) -> dict[str, str]:
    """Return what a class' docstring, and its bases', say under ``Attributes`` of each of them."""
    said: dict[str, str] = {}
    for base in reversed(structure.__mro__):
        lines = inspect.cleandoc(base.__doc__ or "").splitlines()
        if "Attributes" in lines:
            said |= _attributes(lines[lines.index("Attributes") + 2 :])
    return said


def _attributes(lines: list[str]) -> dict[str, str]:
    said: dict[str, str] = {}
    names: list[str] = []
    for line in lines:
        head = re.match(r"(\w+(?:, \w+)*)(?: : .*)?$", line)
        if head:
            names = head[1].split(", ")
            said.update(dict.fromkeys(names, ""))
        elif line.startswith("    "):
            for name in names:
                said[name] = f"{said[name]} {line.strip()}".strip()
        elif line:
            break
    return said


def fields_of(structure: type) -> Iterator[tuple[str, Any, str]]:
    """Walk over a struct's or a dataclass' fields: name, default (or ``...``), annotation."""
    kinds = {
        name: kind
        for base in reversed(structure.__mro__)
        for name, kind in inspect.get_annotations(base).items()
    }
    if issubclass(structure, msgspec.Struct):
        for field in msgspec.structs.fields(structure):
            default = (
                field.default_factory() if field.default_factory is not msgspec.NODEFAULT else field.default
            )
            yield field.name, ... if default is msgspec.NODEFAULT else default, str(kinds[field.name])
        return
    for each in dataclasses.fields(structure):
        default = each.default_factory() if each.default_factory is not dataclasses.MISSING else each.default
        yield each.name, ... if default is dataclasses.MISSING else default, str(kinds[each.name])


def _nested(value: object) -> bool:
    return isinstance(value, msgspec.Struct) or dataclasses.is_dataclass(value)


def settings_table(structure: type) -> str:
    """Write a table of one structure's keys."""
    said = documented(structure)

    def rows() -> Iterator[tuple[str, ...]]:
        for name, default, kind in fields_of(structure):
            shown = "" if default is ... else "a table" if _nested(default) else f"`{_default(default)}`"
            yield f"`{name}`", f"`{_annotation(kind)}`", shown, _cell(said.get(name, ""))

    return _table(("key", "kind", "default", "what"), rows())


def _default(value: object) -> str:
    if value is None:
        return "not set"
    no_limit = isinstance(value, float) and not math.isfinite(value)
    return "no limit" if no_limit else _cell(json.dumps(value, default=str))


def _annotation(kind: str) -> str:
    """Write a type as people do: ``Literal["a", "b"] | None`` becomes ``"a" or "b"``."""
    plain = re.sub(r"Literal\[([^\]]*)\]", lambda found: " or ".join(found[1].split(", ")), kind)
    return plain.removesuffix(" | None").replace(" | ", " or ").replace("'", '"')


def settings_files() -> dict[str, tuple[str, tuple[tuple[str, type], ...]]]:
    """Return every file of settings: what reads it, and the structures of its tables."""
    from edgeleuk.io.settings import Settings
    from edgeleuk.virtual.scenario import CameraFault
    from edgeleuk_convert.bundling.foreign import ContractSettings, InputSettings, OutputSettings
    from edgeleuk_convert.metrics.acceptance import AcceptanceLimits
    from edgeleuk_convert.training.augmentation import Augmentation
    from edgeleuk_convert.training.plan import TrainingSettings
    from edgeleuk_firmware_bridge.stage.protocols import AxisSettings, StageSettings

    return {
        "Every command: `edgeleuk.toml`, or `--config FILE`": (
            "Flags win over `EDGELEUK_*` variables, those over the file, and the file over the defaults.",
            (("", Settings),),
        ),
        "A stage: `--stage-config FILE`": (
            "`edgeleuk stage map --out` writes one.",
            (("", StageSettings), ("[x], [y], [z]", AxisSettings)),
        ),
        "A training: `train --config FILE`": (
            "`train` writes a complete one beside the network.",
            (("", TrainingSettings), ("[augmentation]", Augmentation)),
        ),
        "A contract: `convert --contract FILE`": (
            "`edgeleuk contract --out` writes one.",
            (("", ContractSettings), ("[input]", InputSettings), ("[output]", OutputSettings)),
        ),
        "Acceptance limits": (
            "For `convert`, `validate` and `compare`. All are shares: 0.01 is one point.",
            (("", AcceptanceLimits),),
        ),
        "A scenario: `virtual://?scenario=FILE`": (
            "Faults of the virtual camera.",
            (("[[fault]]", CameraFault),),
        ),
    }


def settings_page() -> str:
    """Write every key of every file of settings."""
    parts = [
        "# Settings",
        "Made from the structures that read them. A key that is not here is refused with its line.",
    ]
    for title, (sentence, tables) in settings_files().items():
        parts += [f"## {title}", sentence]
        for name, structure in tables:
            parts += ([f"### `{name}`"] if name else []) + [settings_table(structure)]
    return "\n\n".join(parts) + "\n"


# JSON


def schemas() -> dict[str, Mapping[str, Any]]:
    """Return the schema of a bundle's manifest, and those that are published in ``docs/schema``."""
    from edgeleuk.bundle.manifest import Manifest

    found = {
        file.stem: json.loads(file.read_text()) for file in sorted((ROOT / "docs" / "schema").glob("*.json"))
    }
    return {"manifest": msgspec.json.schema(Manifest)} | found


def json_page() -> str:
    """Write every JSON that is printed or stored as tables of its keys."""
    parts = [
        "# JSON",
        "Made from the schemas of what edgeleuk prints and stores. Keys stay; new ones may come.",
    ]
    for name, schema in schemas().items():
        parts += [f"## {name}", str(schema.get("description", ""))]
        if "properties" in schema:
            parts.append(_properties(schema))
        for title, part in schema.get("$defs", {}).items():
            parts += [f"### {name}: {title}", _cell(str(part.get("description", "")).split("\n\n")[0])]
            parts.append(_properties(part) if "properties" in part else f"`{_kind(part)}`")
    return "\n\n".join(part for part in parts if part) + "\n"


def _properties(schema: Mapping[str, Any]) -> str:
    required = schema.get("required", ())

    def rows() -> Iterator[tuple[str, ...]]:
        for name, value in schema["properties"].items():
            always = "always" if name in required else "may be absent"
            yield f"`{name}`", f"`{_cell(_kind(value))}`".replace("&lt;", "<"), always

    return _table(("key", "kind", "there"), rows())


def _kind(value: Mapping[str, Any]) -> str:
    """Say in few words what a schema allows."""
    several = value.get("anyOf") or value.get("oneOf")
    if several:
        return " or ".join(dict.fromkeys(_kind(each) for each in several))
    if "$ref" in value:
        return str(value["$ref"]).rsplit("/", 1)[-1]
    constants = value.get("enum") or ([value["const"]] if "const" in value else [])
    if constants:
        return " or ".join(json.dumps(each) for each in constants)
    kind = value.get("type", "anything")
    items = value.get("items")
    if kind == "array" and isinstance(items, dict) and items:
        return f"array of {_kind(items)}"
    return " or ".join(kind) if isinstance(kind, list) else str(kind)


# Exit codes


def error_classes() -> Iterator[type[EdgeleukError]]:
    """Walk over every error that the device may end with."""
    from edgeleuk import errors

    for _, value in inspect.getmembers(errors, inspect.isclass):
        if issubclass(value, errors.EdgeleukError):
            yield value


def exit_codes_page() -> str:
    """Write every exit code and what it stands for."""
    found = sorted(error_classes(), key=lambda each: (each.exit_code, each.__name__))
    rows = [("`0`", "", "Done.")] + [
        (
            f"`{each.exit_code}`",
            f"`{each.__name__}`",
            _cell(inspect.cleandoc(each.__doc__ or "").split("\n\n")[0]),
        )
        for each in found
    ]
    sentence = (
        "Made from `edgeleuk/errors.py`. Every error is one sentence on standard error: "
        "what, got, allowed, cure. [Troubleshooting](../troubleshooting.md) goes by the sentence."
    )
    return f"# Exit codes\n\n{sentence}\n\n{_table(('code', 'error', 'what'), iter(rows))}\n"


# Python


def public_names() -> list[str]:
    """Return the names that Python users may rely on."""
    import edgeleuk

    listed = getattr(edgeleuk, "__all__", None) or [name for name in vars(edgeleuk) if name.isupper()]
    return sorted(listed)


def api_page() -> str:
    """Write every public name with its signature and its docstring."""
    import edgeleuk

    parts = ["# Python", "`import edgeleuk` gives these names. Whatever is not here is private and may move."]
    for name in public_names():
        value = getattr(edgeleuk, name)
        parts.append(f"## {name}")
        if not callable(value):
            parts.append(f"`{value!r}`")
            continue
        parts += [
            f"```python\n{_signature(name, value)}\n```",
            docstring_as_markdown(inspect.getdoc(value) or ""),
        ]
    return "\n\n".join(parts) + "\n"


def _signature(name: str, value: Any) -> str:
    try:
        return f"{name}{inspect.signature(value)}"
    except (TypeError, ValueError):
        return name


def docstring_as_markdown(text: str) -> str:
    """Turn a numpy docstring into Markdown: sections become bold, their entries a list, examples code."""
    out: list[str] = []
    section = ""
    lines = text.splitlines()
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if line and re.fullmatch(r"-{3,}", following):
            out += ["```", ""] if section == "Examples" else [""]
            section = line
            out += [f"**{line}**", ""] + (["```pycon"] if line == "Examples" else [])
        elif re.fullmatch(r"-{3,}", line):
            continue
        elif section in ("", "Examples", "Notes"):
            out.append(line)
        elif line.startswith("    "):
            out.append(f"  {line.strip()}")
        elif line:
            out.append(f"- `{line}`:")
    return "\n".join(out + (["```"] if section == "Examples" else []))


def on_files(files: Any, config: Any) -> Any:
    """Give mkdocs the pages that are made here: its hook of this name."""
    from mkdocs.structure.files import File

    for place, text in pages().items():
        files.append(File.generated(config, place, content=text))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Lead links to the repository's first page to the site's."""
    return markdown.replace("](../README.md", "](index.md")
