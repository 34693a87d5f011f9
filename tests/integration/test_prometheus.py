"""Debian's Prometheus asks a page that has a token."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from served import site

from edgeleuk.serve.access import Access

if TYPE_CHECKING:
    from pathlib import Path

PROMETHEUS = shutil.which("prometheus")
TOKEN = "t0ken-of-a-stand"
# As docs/fleet.md has it, and once without the token and once with another.
CONFIG = """
global: {{scrape_interval: 1s}}
scrape_configs:
  - job_name: edgeleuk
    authorization: {{credentials_file: {folder}/edgeleuk.token}}
    static_configs: [{{targets: ["{target}"]}}]
  - job_name: without
    static_configs: [{{targets: ["{target}"]}}]
  - job_name: other
    authorization: {{credentials: another}}
    static_configs: [{{targets: ["{target}"]}}]
"""

pytestmark = pytest.mark.skipif(PROMETHEUS is None, reason="Debian's package prometheus is not installed")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def answered(base: str, path: str, **words: str) -> Any:
    try:
        return httpx.get(f"{base}/api/v1/{path}", params=words).json()["data"]
    except (httpx.TransportError, ValueError):
        return None


def scraped(base: str, until_s: float) -> dict[str, dict[str, Any]]:
    """Return the targets by their job, once each was asked."""
    while time.monotonic() < until_s:
        found = answered(base, "targets")
        if found is not None:
            targets = {one["labels"]["job"]: one for one in found["activeTargets"]}
            if len(targets) == 3 and all(one["health"] != "unknown" for one in targets.values()):
                return targets
        time.sleep(0.2)
    pytest.fail("Prometheus did not ask in time")


def test_prometheus_asks_with_the_token(tmp_path: Path) -> None:
    (tmp_path / "edgeleuk.token").write_text(TOKEN + "\n")
    with site(tmp_path, Access(TOKEN, any_address=True)) as found:
        target = found.base.removeprefix("http://")
        (tmp_path / "prometheus.yml").write_text(CONFIG.format(folder=tmp_path, target=target))
        own = f"127.0.0.1:{free_port()}"
        words = [
            str(PROMETHEUS),
            f"--config.file={tmp_path}/prometheus.yml",
            f"--storage.tsdb.path={tmp_path}/data",
            f"--web.listen-address={own}",
        ]
        with (tmp_path / "log").open("wb") as log:
            running = subprocess.Popen(words, stdout=log, stderr=log)
        try:
            targets = scraped(f"http://{own}", time.monotonic() + 60)
            assert {job: one["health"] for job, one in targets.items()} == {
                "edgeleuk": "up", "without": "down", "other": "down",
            }, targets  # fmt: skip
            assert targets["edgeleuk"]["lastError"] == ""
            for job in ("without", "other"):
                assert "401 Unauthorized" in targets[job]["lastError"]
            told = answered(f"http://{own}", "query", query="edgeleuk_build_info")
            assert [one["metric"]["job"] for one in told["result"]] == ["edgeleuk"]
        finally:
            running.terminate()
            running.wait()
