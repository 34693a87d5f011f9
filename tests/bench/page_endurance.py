"""Whether a night with the page open makes anything grow, or loses an event.

The page of a run whose fields, drawn from the virtual slide before, come fast-forward: what the server does
twice a second it does twenty times a second here. Eight hours are 57,600 states. Debian's Chromium has the
page open. A note is said each second, which is one in ten seconds of the night. It looks at the memory of
the page's server, of the page's scripts after a collection, and of the browser's process that draws the
page, from the first tenth on. Each note must have been on the page. Prints JSON on standard output; exits 3
when a bar is missed. What the rest of a run holds after a night is the matter of `endurance.py`.

    python tests/bench/page_endurance.py [--states 57600]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "firmware_bridge"), str(ROOT / "tests")]

from bench.endurance import rss_mb  # noqa: E402
from served import cell_of, site, summary_of  # noqa: E402
from websockets.sync.client import connect  # noqa: E402

from edgeleuk.reports.pdf import find_chromium  # noqa: E402
from edgeleuk.results import Counted, Decision  # noqa: E402
from edgeleuk.virtual.microscope import VirtualMicroscope  # noqa: E402
from edgeleuk.virtual.render import VirtualSlide  # noqa: E402

BAR_MB = 20.0
STATES = 57_600
FIELDS = 24
# Of the run's clock: a state each half second, ten pictures and fields each second.
FAST = 10
_CALLS = (Decision.BLAST, Decision.NORMAL, Decision.UNCERTAIN)
_COUNTS = "Number(document.getElementById('total').textContent.replace(/\\D/g, '')) > 0"
_EVENTS = "[...document.querySelectorAll('#events tr')].map((row) => row.cells[2].textContent)"


_COUNT_STATES = """
window.states = 0;
const Wire = WebSocket;
window.WebSocket = class extends Wire {
  constructor(...words) { super(...words); this.addEventListener("message", () => { window.states += 1; }); }
};
"""


class Look(NamedTuple):
    """States so far, and megabytes of the server, of the page's scripts, and of the process that draws it."""

    states: int
    server: float
    scripts: float
    drawing: float


def be_run(folder: Path) -> None:
    """Serve a run in fast-forward until standard input ends; print the page's address."""
    microscope = VirtualMicroscope(VirtualSlide(3), width=640, height=480)
    fields = [microscope.look(75.0 * (n % 6), 60.0 * (n // 6), 0.0).pixels for n in range(FIELDS)]
    ends = threading.Event()
    with (
        mock.patch("edgeleuk.serve.live.SNAPSHOT_EVERY_S", 0.5 / FAST),
        mock.patch("edgeleuk.serve.worker.DOCUMENT_EVERY_S", 0.5 / FAST),
        mock.patch("edgeleuk.serve.worker.MOST_PICTURES_A_S", 10.0 * FAST),
        mock.patch("edgeleuk.serve.routes._HEARS_EVERY_S", 0.5 / FAST),
        site(folder) as served,
    ):
        taken = 0

        def feed() -> None:
            nonlocal taken
            while not ends.wait(0.1 / FAST):
                taken += 1
                served.run.field(fields[taken % FIELDS], cell_of(taken, _CALLS[taken % 3]))

        def counts() -> Counted:
            return Counted(blast=taken // 3, normal=taken // 3, uncertain=taken // 3)

        def tick() -> None:
            served.run.state.tick(lambda: summary_of(taken, counts()))

        with mock.patch.object(served.run, "tick", tick):
            feeding = threading.Thread(target=feed, daemon=True)
            feeding.start()
            print(served.base, flush=True)
            sys.stdin.read()
            ends.set()
            feeding.join()


def say(base: str, text: str) -> None:
    """Say a note, as the page does."""
    asked = urllib.request.Request(
        f"{base}/api/commands/note",
        json.dumps({"text": text}).encode(),
        {"Content-Type": "application/json", "Origin": base},
    )
    urllib.request.urlopen(asked).close()


class Chromium:
    """Debian's Chromium with one page, asked by its debugging protocol.

    Playwright would have it keep what comes over the network, for its events: up to a gigabyte of a stream.
    """

    def __init__(self, profile: str, address: str) -> None:
        words = [find_chromium(), "--headless=new", f"--user-data-dir={profile}", "--window-size=1024,768"]
        words += [
            "--remote-debugging-port=0",
            *(["--no-sandbox"] if os.geteuid() == 0 else []),
            "about:blank",
        ]
        self._program = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        told = Path(profile) / "DevToolsActivePort"
        while not (told.exists() and told.read_text()):
            time.sleep(0.05)
        self._port = told.read_text().splitlines()[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/json/list") as answer:
            (page,) = [one for one in json.load(answer) if one["type"] == "page"]
        self._wire = connect(page["webSocketDebuggerUrl"], max_size=None)
        self._asked = 0
        self.call("Page.enable")
        self.call("Page.addScriptToEvaluateOnNewDocument", source=_COUNT_STATES)
        self.call("Page.navigate", url=address)

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        self._asked += 1
        self._wire.send(json.dumps({"id": self._asked, "method": method, "params": parameters}))
        while True:
            told: dict[str, Any] = json.loads(self._wire.recv(60))
            if told.get("id") == self._asked:
                return dict(told["result"])

    def value(self, script: str) -> Any:
        return self.call("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def drawing_mb(self) -> float:
        """Return the memory of the process that draws the page: of its renderers the largest."""
        found = [0.0]
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                is_one = b"--type=renderer" in (entry / "cmdline").read_bytes()
                if is_one and self._program.pid in _ancestors(int(entry.name)):
                    found.append(own_mb(entry))
            except OSError:
                continue
        return max(found)

    def close(self) -> None:
        self._wire.close()
        self._program.terminate()
        self._program.wait()


def own_mb(process: Path) -> float:
    """Memory that a process has made; pages of programs and libraries come and go as the kernel likes."""
    lines = (process / "status").read_text(encoding="ascii", errors="replace").splitlines()
    kb = [int(line.split()[1]) for line in lines if line.startswith(("RssAnon:", "RssShmem:"))]
    return sum(kb) * 1024 / 1e6


def _ancestors(pid: int) -> list[int]:
    found = []
    while pid > 1:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
        pid = int(text.rsplit(")", 1)[1].split()[1])
        found.append(pid)
    return found


def watch(page: Chromium, base: str, server: int, states: int) -> tuple[list[Look], list[str]]:
    """Look until the page has taken so many states; return what was seen, and the notes that were not."""
    while not page.value(_COUNTS):
        time.sleep(0.1)
    looks: list[Look] = []
    said: list[str] = []
    shown: set[str] = set()
    while not looks or looks[-1].states < states:
        for _ in range(10):
            said.append(f"note {len(said) + 1} of the night")
            say(base, said[-1])
            time.sleep(1)
        page.call("HeapProfiler.collectGarbage")
        used = page.call("Runtime.getHeapUsage")["usedSize"] / 1e6
        looks.append(Look(int(page.value("window.states")), rss_mb(server), used, page.drawing_mb()))
        shown |= set(page.value(_EVENTS))
        if len(looks) % 20 == 1:
            print(looks[-1], file=sys.stderr, flush=True)
    return looks, [text for text in said if text not in shown]


def main() -> int:
    """Run, watch, and judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--states", type=int, default=STATES)
    parser.add_argument("--be-run", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.be_run:
        be_run(options.be_run)
        return 0
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as profile:
        words = [sys.executable, __file__, "--be-run", folder]
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as run:
            assert run.stdin is not None
            assert run.stdout is not None
            base = run.stdout.readline().strip()
            with closing(Chromium(profile, base)) as page:
                looks, missing = watch(page, base, run.pid, options.states)
            run.stdin.close()
    settled = [one for one in looks if one.states >= options.states / 10]
    growth = {
        name: round(max(getattr(one, name) for one in settled) - getattr(settled[0], name), 1)
        for name in Look._fields[1:]
    }
    result = {
        "schema_version": 1,
        "states": looks[-1].states,
        "notes": 10 * len(looks),
        "notes_not_shown": missing,
        "growth_mb": growth,
        "first": settled[0]._asdict(),
        "looks": looks[:: max(1, len(looks) // 50)],
    }
    print(json.dumps(result))
    met = not missing and max(growth.values()) < BAR_MB
    print(
        f"{'met   ' if met else 'MISSED'} {looks[-1].states} states: growth {growth} MB < {BAR_MB:g}, "
        f"{len(missing)} of {10 * len(looks)} notes not shown",
        file=sys.stderr,
    )
    return 0 if met else 3


if __name__ == "__main__":
    sys.exit(main())
