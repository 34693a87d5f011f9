"""Roots of an arm64 Debian, with QEMU in them: whoever runs a program there needs no mount and no binfmt."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from common import MissingToolError

if TYPE_CHECKING:
    from collections.abc import Sequence

PACKAGES = (
    *("base-files", "base-passwd", "bash", "dash", "coreutils", "libc-bin", "python3", "python3-venv"),
    *("python3-pip", "ca-certificates", "libgomp1", "libstdc++6", "python3-prctl"),
)
# picamera2 itself, and simplejpeg as Raspberry Pi OS has it on bookworm, built for numpy 1. Of libcamera's
# Python there is none but in its own archive.
CAMERA_LIBRARY = ("picamera2", "simplejpeg==1.6.6", "piexif", "pillow", "videodev2", "libarchive-c")
# Raspberry Pi OS is made of these: with Python 3.11 and 3.13.
RELEASES = ("bookworm", "trixie")
QEMU = "/qemu-aarch64"
SITE = "/opt/site"
CAMERA_SITE = "/opt/picamera2"
# Version 1 of the interface of plugins, which count.c is written to, was given up after it.
NEWEST_QEMU = 8
# What tells pip and its connections where to go.
PASSED_ON = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy")
TOOLS = {"mmdebstrap": "mmdebstrap", "qemu-aarch64": "qemu-user", "gcc": "gcc", "chroot": "coreutils"}


def check_tools() -> None:
    """Tell what is missing, and what brings it."""
    if os.geteuid() != 0:
        raise MissingToolError("a root is built and entered as root: run it with sudo")
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        packages = " ".join(sorted({TOOLS[tool] for tool in missing}))
        raise MissingToolError(f"{', '.join(missing)} not found: install with `apt-get install {packages}`")
    shown = subprocess.run([_qemu(), "--help"], capture_output=True, text=True, check=True).stdout
    said = subprocess.run([_qemu(), "--version"], capture_output=True, text=True, check=True).stdout
    major = re.search(r"version (\d+)", said)
    if major is not None and int(major[1]) > NEWEST_QEMU:
        raise MissingToolError(
            f"QEMU {major[1]} takes plugins of another interface: use one up to {NEWEST_QEMU}, as of bookworm"
        )
    if "-plugin" not in shown:
        raise MissingToolError(
            "this qemu-aarch64 takes no plugins: install Debian's qemu-user, not qemu-user-static"
        )


@dataclass(frozen=True)
class Root:
    """An arm64 root.

    Attributes
    ----------
    release : str
        Of Debian.
    path : Path
    """

    release: str
    path: Path

    def build(self) -> None:
        """Unpack Debian's packages, unless that is done, and put QEMU and what it needs beside them."""
        done = self.path / "built"
        if done.exists():
            return
        shutil.rmtree(self.path, ignore_errors=True)
        hooks = ["--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr"] if self.release == "bookworm" else []
        subprocess.run(
            [
                *("mmdebstrap", "--variant=extract", "--architectures=arm64", "--quiet"),
                *(f"--include={','.join(PACKAGES)}", *hooks, self.release, str(self.path)),
            ],
            check=True,
        )
        # Debian keeps libraries of each architecture apart, so that these disturb nothing.
        qemu = _qemu()
        listed = subprocess.run(["ldd", qemu], check=True, capture_output=True, text=True).stdout
        for library in (word for word in listed.split() if word.startswith("/")):
            target = self.path / library.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(Path(library).resolve(), target)
        shutil.copy(qemu, self.path / QEMU.lstrip("/"))
        for name in ("/etc/resolv.conf", "/etc/hosts", "/etc/ssl/certs/ca-certificates.crt"):
            (self.path / name.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(Path(name).resolve(), self.path / name.lstrip("/"))
        done.touch()

    def install(self, wheel: Path, cpu: str) -> None:
        """Install a wheel and all that it needs from the package index, by the root's own pip."""
        installed = self.path / "installed"
        if installed.exists() and installed.read_bytes() == wheel.read_bytes():
            return
        shutil.rmtree(self.path / SITE.lstrip("/"), ignore_errors=True)
        (self.path / "wheel").mkdir(exist_ok=True)
        shutil.copy(wheel, self.path / "wheel")
        self.python(
            cpu,
            *("-m", "pip", "install", "--quiet", "--only-binary=:all:", "--root-user-action=ignore"),
            *("--target", SITE, f"/wheel/{wheel.name}[onnx]"),
        )
        shutil.copy(wheel, installed)

    def install_camera_library(self, cpu: str) -> None:
        """Install picamera2 from the package index, with what it loads before it finds numpy too new.

        A module that does nothing stands in for libcamera.
        """
        site = self.path / CAMERA_SITE.lstrip("/")
        if site.exists():
            return
        self.python(
            cpu,
            *("-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:"),
            *("--root-user-action=ignore", "--target", CAMERA_SITE, *CAMERA_LIBRARY),
        )
        shutil.copy(Path(__file__).parent / "libcamera_stand_in.py", site / "libcamera.py")

    def python(self, cpu: str, *arguments: str, plugin: Sequence[str] = ()) -> str:
        """Run the root's Python on a processor; return what it says on both outputs.

        Raises
        ------
        RuntimeError
            It failed; the message has what it said.
        """
        command = [shutil.which("chroot") or "chroot", str(self.path), QEMU, "-cpu", cpu, *plugin]
        done = subprocess.run(
            [*command, "/usr/bin/python3", *arguments],
            capture_output=True,
            text=True,
            env=self._environment(),
            check=False,
        )
        if done.returncode != 0:
            said = (done.stdout + done.stderr).strip().splitlines()
            raise RuntimeError(
                f"{self.release} on {cpu}: {' '.join(arguments)} ended with {done.returncode}: "
                + "\n".join(said[-12:])
            )
        return done.stdout + done.stderr

    def script(self, cpu: str, text: str) -> str:
        """Run a script of bash, and all programs that it calls, where the kernel runs them by QEMU.

        Raises
        ------
        RuntimeError
            It failed; the message has what it said.
        """
        done = subprocess.run(
            [shutil.which("chroot") or "chroot", str(self.path), "/bin/bash", "-e"],
            input=text,
            capture_output=True,
            text=True,
            env=self._environment() | {"QEMU_CPU": cpu, "PYTHONPATH": ""},
            check=False,
        )
        said = done.stdout + done.stderr
        if done.returncode != 0:
            lines = said.strip().splitlines()
            raise RuntimeError(
                f"{self.release}: a script ended with {done.returncode}: " + "\n".join(lines[-12:])
            )
        return said

    def _environment(self) -> dict[str, str]:
        return {
            "HOME": "/root",
            "PATH": "/usr/bin:/usr/sbin:/bin:/sbin",
            "LANG": "C.UTF-8",
            "PYTHONPATH": SITE,
            "SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt",
            "PIP_CERT": "/etc/ssl/certs/ca-certificates.crt",
            # Which index, if it is not the usual one.
            **{name: os.environ[name] for name in PASSED_ON if name in os.environ},
        }


def _qemu() -> str:
    return shutil.which("qemu-aarch64") or "qemu-aarch64"
