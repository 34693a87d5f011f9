"""A wall clock that is set back a day in the middle of a run, as seen by the whole process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

from edgeleuk.session import read_session
from edgeleuk.session.fhir import fhir_bundle
from edgeleuk.session.report import session_report

if TYPE_CHECKING:
    from pathlib import Path

DAY_S = 86400
# The wall clock is what the file says before or after the real one; the steady clocks are left alone.
SHIFTED = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int clock_gettime(clockid_t which, struct timespec *now) {
  static int (*real)(clockid_t, struct timespec *);
  long shift = 0;
  FILE *file;
  int failed;
  if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
  failed = real(which, now);
  if (which == CLOCK_REALTIME && (file = fopen(getenv("CLOCK_SHIFT"), "r"))) {
    if (fscanf(file, "%ld", &shift) == 1) now->tv_sec += shift;
    fclose(file);
  }
  return failed;
}
"""


def test_no_period_ends_before_it_starts(tmp_path: Path) -> None:
    compiler = shutil.which("gcc")
    assert compiler is not None, "gcc is missing: apt-get install gcc"
    (tmp_path / "clock.c").write_text(SHIFTED)
    library, shift, path = tmp_path / "clock.so", tmp_path / "shift", tmp_path / "a.db"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, tmp_path / "clock.c", "-ldl"], check=True)
    shift.write_text("0")

    def start(frames: int) -> subprocess.Popen[str]:
        words = ("run", "--camera", "virtual://?seed=3&width=160&height=120", "--frames", str(frames))
        return subprocess.Popen(
            [sys.executable, "-m", "edgeleuk", *words, "--session", str(path), "--resume", "--json"],
            env={**os.environ, "LD_PRELOAD": str(library), "CLOCK_SHIFT": str(shift)},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    running = start(150)
    while running.poll() is None and not has_frames(path):
        time.sleep(0.02)
    shift.write_text(f"-{DAY_S}")
    first = summary_of(running)
    second = summary_of(start(160))
    assert first["duration_s"] < second["duration_s"] < DAY_S / 2
    assert min(first["fps"], second["fps"]) > 0.05

    with read_session(path) as reader:
        times: list[Any] = [frame["captured_at"] for frame in reader.rows("frames")]
        told = [str(event["text"]) for event in reader.rows("events") if event["kind"] == "clock"]
    assert times == sorted(times)
    assert len(told) == 2
    assert "set back by 1 day" in told[0]
    assert "before the last record" in told[1]
    facts = session_report(path)
    assert facts.first_frame is not None
    assert facts.last_frame is not None
    assert facts.first_frame < facts.last_frame
    period = fhir_bundle(facts)["entry"][0]["resource"]["effectivePeriod"]
    start_at, end_at = (datetime.fromisoformat(period[key]) for key in ("start", "end"))
    assert 0 < (end_at - start_at).total_seconds() < DAY_S / 2


def has_frames(path: Path) -> bool:
    if not path.exists():
        return False
    try:
        with read_session(path) as reader:
            return reader.counts().processed > 0
    except Exception:  # noqa: BLE001 - its schema is being written
        return False


def summary_of(running: subprocess.Popen[str]) -> dict[str, Any]:
    out, _ = running.communicate()
    assert running.returncode == 0
    summary: dict[str, Any] = json.loads(out)
    return summary
