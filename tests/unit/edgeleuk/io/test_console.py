"""What is shown while a command works, with and without a terminal."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys

TRAINING = """
from types import SimpleNamespace
from edgeleuk.io.console import progress_bar, progress_line, set_voice, training_progress
set_voice()
with training_progress() as report:
    for stage, left in (("read", None), ("inner", 3900.0), ("final", 61.0)):
        for step in (1, 2):
            report(SimpleNamespace(stage=stage, epoch=1, epochs=1, step=step, steps=2, loss=0.5,
                                   validation_auroc=None, seconds_left=left))
with progress_bar("reading") as bar:
    bar(1, 2)
with progress_line("networks") as tell:
    tell(3, 10)
"""


LIBRARY = """
import logging, sys
from edgeleuk.io.console import progress_bar, say, shows_progress, warn
sys.stderr.isatty = lambda: True
assert not shows_progress()
say("a note")
warn("a warning")
logging.basicConfig(level=logging.INFO, format="%(name)s %(levelname)s %(message)s", stream=sys.stdout)
say("a note")
warn("a warning")
say("error: an error")
"""


def test_within_another_program_words_go_to_its_log() -> None:
    done = subprocess.run([sys.executable, "-c", LIBRARY], capture_output=True, text=True, check=True)
    # Without a log, Python itself prints warnings.
    assert done.stderr == "a warning\n"
    assert done.stdout.splitlines() == [
        "edgeleuk INFO a note",
        "edgeleuk WARNING a warning",
        "edgeleuk ERROR an error",
    ]


def test_without_a_terminal_each_epoch_is_a_line() -> None:
    done = subprocess.run([sys.executable, "-c", TRAINING], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert lines[0].startswith("training, with some groups kept out")
    assert lines[1] == "  epoch 1/1  loss 0.5000  65 min left"
    assert lines[3] == "  epoch 1/1  loss 0.5000  1 min left"


def test_on_a_terminal_the_time_left_covers_both_trainings() -> None:
    ours, theirs = pty.openpty()
    environ = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    with subprocess.Popen([sys.executable, "-c", TRAINING], stderr=theirs, env=environ) as process:
        os.close(theirs)
        shown = b""
        try:
            while part := os.read(ours, 4096):
                shown += part
        except OSError:
            pass  # Linux says so when the other side has closed
        assert process.wait() == 0
    os.close(ours)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    assert "0:01:01 left in all" in text
    assert "2/2" in text
    assert "networks 3/10" in text
