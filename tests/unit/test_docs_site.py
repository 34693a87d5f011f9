"""The site: its pages that are made from the code, its links, and that hand-written pages fit the code."""

from __future__ import annotations

import importlib.util
import re
import sys
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("edgeleuk", "convert", "calibration", "firmware_bridge")
HAND = {page.name: page.read_text() for page in sorted((ROOT / "docs").glob("*.md"))}


@cache
def reference() -> Any:
    spec = importlib.util.spec_from_file_location("reference", ROOT / "docs" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["reference"] = module
    spec.loader.exec_module(module)
    return module


@cache
def site() -> dict[str, str]:
    """Return all pages of the site, by their place in it."""
    hand = {name: reference().on_page_markdown(text) for name, text in HAND.items()}
    return hand | reference().pages()


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as Python-Markdown makes them."""
    headings = re.findall(r"^#+ (.+)$", without_code(text), re.MULTILINE)
    plain = [re.sub(r"[^\w\s-]", "", heading.replace("`", "")).strip().lower() for heading in headings]
    return {re.sub(r"[-\s]+", "-", heading) for heading in plain}


def links(text: str) -> list[str]:
    targets: list[str] = re.findall(r"\]\(([^)\s]+)\)", without_code(text))
    return [target for target in targets if "://" not in target]


def test_every_link_of_the_site_leads_to_a_page_and_a_heading() -> None:
    lost = []
    for name, text in site().items():
        for target in links(text):
            path, _, anchor = target.partition("#")
            parts: list[str] = []
            for part in (PurePosixPath(name).parent / path).parts if path else PurePosixPath(name).parts:
                parts = parts[:-1] if part == ".." else [*parts, part]
            there = "/".join(parts)
            found = site().get(there)
            known = found is not None or (ROOT / "docs" / there).is_file()
            if not known or (anchor and anchor not in anchors(found or "")):
                lost.append(f"{name}: {target}")
    assert not lost


def test_the_navigation_names_every_page_once() -> None:
    named = re.findall(r"^ +- .+: (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    assert sorted(named) == sorted(site())


def test_every_command_and_option_stands_on_the_page_of_commands() -> None:
    from typer.main import get_command

    from edgeleuk.cli.app import app

    page = site()["reference/commands.md"]
    count = 0
    for names, command in reference().leaves(get_command(app)):
        part = page.split(f"## edgeleuk {' '.join(names)}\n")[1].split("\n## ")[0]
        for parameter in command.params:
            count += 1
            assert any(
                option in part for option in [*parameter.opts, parameter.metavar or parameter.name.upper()]
            )
    assert count > 200


def test_every_key_of_a_settings_file_stands_with_what_it_means() -> None:
    from edgeleuk.io.settings import RunSettings

    page = site()["reference/settings.md"]
    for _, tables in reference().settings_files().values():
        for _, structure in tables:
            for name, _, _ in reference().fields_of(structure):
                assert f"| `{name}` |" in page
    said = reference().documented(RunSettings)
    assert all(said[name] for name, _, _ in reference().fields_of(RunSettings))


def test_every_error_stands_with_its_exit_code() -> None:
    page = site()["reference/exit-codes.md"]
    for error in reference().error_classes():
        assert f"| `{error.exit_code}` | `{error.__name__}` |" in page


def test_every_public_name_and_every_schema_has_its_heading() -> None:
    for name in reference().public_names():
        assert f"\n## {name}\n" in site()["reference/api.md"]
    for name in reference().schemas():
        assert f"\n## {name}\n" in site()["reference/json.md"]


def test_a_docstring_becomes_markdown() -> None:
    text = "Do it.\n\nParameters\n----------\na : int\n    What it is.\n\nExamples\n--------\n>>> 1\n1"
    made = reference().docstring_as_markdown(text)
    assert made.splitlines() == [
        "Do it.",
        "",
        "",
        "**Parameters**",
        "",
        "- `a : int`:",
        "  What it is.",
        "",
        "**Examples**",
        "",
        "```pycon",
        ">>> 1",
        "1",
        "```",
    ]


@cache
def source() -> str:
    """Return all code, with the parts of a sentence joined that stand on several lines."""
    text = "\n".join(file.read_text() for folder in SOURCES for file in sorted((ROOT / folder).rglob("*.py")))
    return re.sub(r'"\s*\n\s*f?"', "", text)


def test_every_message_of_troubleshooting_is_one_of_the_code() -> None:
    messages = re.findall(r"^\| `([^`]+)` \|", HAND["troubleshooting.md"], re.MULTILINE)
    assert len(messages) > 40
    assert [message for message in messages if message not in source()] == []


def test_every_package_stands_in_the_architecture() -> None:
    page = HAND["architecture.md"]
    for root in ("edgeleuk", "convert/edgeleuk_convert"):
        for package in (ROOT / root).iterdir():
            if (package / "__init__.py").is_file():
                assert f"| `{package.name}` |" in page


def test_every_dependency_has_a_reason() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    wanted = re.search(r"^dependencies = \[\n(.*?)^\]", project, re.MULTILINE | re.DOTALL)
    extras = re.search(r"^\[project.optional-dependencies\]\n(.*?)^\[", project, re.MULTILINE | re.DOTALL)
    assert wanted is not None
    assert extras is not None
    names = re.findall(r'^  "([\w.-]+)', wanted[1], re.MULTILINE) + re.findall(
        r"^([\w-]+) =", extras[1], re.MULTILINE
    )
    for name in names:
        assert f"| {name} |" in HAND["decisions.md"] or f"| `{name}` |" in HAND["decisions.md"], name


# Words of which a page's first is a link, and where it leads.
WORDS = {
    "bundle": "bundle",
    "session": "session",
    "hash chain": "hash-chain",
    "out-of-distribution check": "out-of-distribution-check",
    "quality check": "quality-check",
    "AUROC": "auroc",
    "weighted F1": "weighted-f1",
}
# What explains the words itself, or is for those who build edgeleuk.
WITHOUT_LINKS = ("glossary.md", "architecture.md", "decisions.md")


@pytest.mark.parametrize("name", [name for name in HAND if name not in WITHOUT_LINKS])
def test_a_word_is_linked_where_it_first_stands(name: str) -> None:
    assert "glossary.md#" in HAND[name]
    lines = [line for line in without_code(HAND[name]).splitlines() if line and line.strip()[0] not in "|#!"]
    # What stands in backticks is what somebody types.
    prose = re.sub(r"`[^`]*`", "", "\n".join(lines))
    for word, anchor in WORDS.items():
        pattern = r"\s+".join(word.split())
        first = re.search(rf"(?<![\w/-]){pattern}s?(?![\w-])", prose, re.IGNORECASE)
        if first is not None:
            assert prose[: first.start()].endswith("["), f"{name}: {word}"
            assert prose[first.end() :].startswith(f"](glossary.md#{anchor})"), f"{name}: {word}"
