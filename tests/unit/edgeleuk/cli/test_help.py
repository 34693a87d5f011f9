"""Every command explains itself: in two lengths, without Python's words, with examples that parse."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import typer.main

from edgeleuk.cli.app import app
from edgeleuk.cli.examples import EXAMPLES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from outcome import Outcome


def commands(group: Any, place: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*place, name))
        else:
            yield (*place, name), command


COMMANDS = dict(commands(typer.main.get_command(app)))


def test_each_command_has_two_examples_and_no_example_is_of_another() -> None:
    assert set(EXAMPLES) == {(), *COMMANDS}
    for place, lines in EXAMPLES.items():
        assert len(lines) == 2
        assert all(tuple(line.split()[: len(place)]) == place for line in lines)


@pytest.mark.parametrize("place", COMMANDS, ids=" ".join)
def test_examples_use_options_that_there_are(place: tuple[str, ...]) -> None:
    command = COMMANDS[place]
    known = {name for param in command.params for name in param.opts}
    required = [set(param.opts) for param in command.params if param.required and param.opts[0][0] == "-"]
    for line in EXAMPLES[place]:
        words = shlex.split(line)[len(place) :]
        used = {word for word in words if word.startswith("--")}
        assert used <= known, line
        assert all(names & used for names in required), line


@pytest.mark.parametrize("place", COMMANDS, ids=" ".join)
def test_help_is_short_or_whole_and_in_plain_words(
    edgeleuk: Callable[..., Outcome], place: tuple[str, ...]
) -> None:
    short = edgeleuk(*place, "-h")
    assert short.code == 0
    assert edgeleuk(*place, "--help").out == short.out
    whole = edgeleuk(*place, "--help-all").out
    for text in (short.out, whole):
        assert not re.search(r"\b(TEXT|INTEGER|FLOAT|PATH|BOOLEAN)\b|<\w+>", text)
        assert all(f"  edgeleuk {line}\n" in text for line in EXAMPLES[place])
    if "--help-all" in short.out:
        left_out = re.search(r"Show the other\s+(\d+)\s+options too", short.out)
        assert left_out is not None
        listed = [len(re.findall(r"^  -", text, re.MULTILINE)) for text in (short.out, whole)]
        # The line that tells of --help-all goes, where all are shown.
        assert listed[1] - listed[0] == int(left_out[1]) - 1
    else:
        assert whole == short.out


def test_the_short_help_of_run_is_half_as_long(edgeleuk: Callable[..., Outcome]) -> None:
    short, whole = edgeleuk("run", "-h").out, edgeleuk("run", "--help-all").out
    assert "--exposure-ms" not in short
    assert "--exposure-ms" in whole
    assert len(short.splitlines()) < 0.7 * len(whole.splitlines())


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("clasify",), "Did you mean 'classify'?"),
        (("camera", "prob"), "Did you mean 'probe'?"),
        (("run", "--framse", "3"), "--frames"),
        (("run", "--camera", "virtul://"), "did you mean virtual?"),
    ],
)
def test_a_word_that_is_nearly_right_is_answered_by_the_right_one(
    edgeleuk: Callable[..., Outcome], words: tuple[str, ...], sentence: str
) -> None:
    outcome = edgeleuk(*words)
    assert (outcome.code, outcome.out) == (2, "")
    assert sentence in outcome.err


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_commands_and_options(tmp_path: Path) -> None:
    program = tmp_path / "edgeleuk"
    program.write_text(f"#!{sys.executable}\nfrom edgeleuk.cli.app import main\nmain()\n")
    program.chmod(0o755)
    environ = os.environ | {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1",
    }
    script = subprocess.run(
        [sys.executable, "-c", "import sys; sys.argv = ['edgeleuk', '--show-completion', 'bash']\n"
         "from edgeleuk.cli.app import main; main()"],
        env=environ, capture_output=True, text=True, check=False,
    ).stdout  # fmt: skip
    assert "complete -o default -F _edgeleuk_completion edgeleuk" in script
    asked = "COMP_WORDS=(edgeleuk {}); COMP_CWORD={}; _edgeleuk_completion edgeleuk; echo ${{COMPREPLY[@]}}"
    for words, index, expected in (
        ("cl", 1, "classify"),
        ("run --save", 2, "--save-video"),
        ("run --help-", 2, "--help-all"),
        ("camera --help-", 2, "--help-all"),
    ):
        done = subprocess.run(
            ["bash", "-c", f"{script}\n{asked.format(words, index)}"],
            env=environ, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.stdout.split() == [expected], done.stderr
