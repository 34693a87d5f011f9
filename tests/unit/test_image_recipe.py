"""The stage for images of Raspberry Pi OS: its scripts are sound, and lie as pi-gen wants them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from edgeleuk.io.settings import Settings, load_settings

STAGE = Path(__file__).resolve().parents[2] / "examples" / "raspberry_pi_os"
STEPS = STAGE / "00-edgeleuk"
SCRIPTS = sorted(STAGE.rglob("*.sh"))


def test_shellcheck_finds_nothing() -> None:
    shellcheck = shutil.which("shellcheck")
    if shellcheck is None:
        pytest.skip("Debian's package shellcheck is not installed")
    done = subprocess.run([shellcheck, *SCRIPTS], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_pi_gen_runs_what_may_be_run() -> None:
    """It passes over a script that is not executable, but for those of the chroot, which bash reads."""
    assert [script.name for script in SCRIPTS] == ["01-run.sh", "02-run-chroot.sh", "prerun.sh"]
    assert all(os.access(script, os.X_OK) for script in SCRIPTS)
    assert all(script.read_text().startswith("#!/bin/bash -e\n") for script in SCRIPTS)


def test_the_settings_are_settings() -> None:
    found = load_settings(Settings, file=STEPS / "files" / "edgeleuk.toml", environ={})
    assert found.camera == "picamera://0"


def test_files_come_into_the_image(tmp_path: Path) -> None:
    shutil.copytree(STEPS, tmp_path / "steps")
    (tmp_path / "steps" / "files" / "edgeleuk-1-py3-none-any.whl").write_bytes(b"a wheel")
    root = tmp_path / "root"
    subprocess.run(
        [tmp_path / "steps" / "01-run.sh"],
        cwd=tmp_path / "steps",
        env={"PATH": os.environ["PATH"], "ROOTFS_DIR": str(root)},
        check=True,
    )
    there = {path.name for path in (root / "usr/local/share/edgeleuk").iterdir()}
    assert there == {"edgeleuk-1-py3-none-any.whl", "edgeleuk.toml"}
