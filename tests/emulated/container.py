"""The container image of Containerfile: does it build, what does it weigh, and does it count cells?

Where no registry can be reached, its base is made of Debian's packages by mmdebstrap. Prints bars on standard
error and JSON on standard output; exits 3 when one is missed, 5 when something has to be installed first, 1
when a tool fails.

    python tests/emulated/container.py --architecture amd64
    python tests/emulated/container.py --architecture arm64 --base docker.io/library/debian:trixie-slim
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from binfmt import arm64_programs  # noqa: E402
from common import REPOSITORY, MissingToolError, finish, say  # noqa: E402

WORK = REPOSITORY / "runs" / "container"
RELEASE = "trixie"
MOST_MB = 700
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
STATIC = "qemu-aarch64-static"
# The certificates that this machine trusts, and where the build finds them.
CERTIFICATES, THERE = "/etc/ssl/certs/ca-certificates.crt", "/run/certificates.crt"
RUN = ("run", "--camera", "virtual://?seed=7&width=640&height=480", "--frames", "5", "--runtime", "litert")
# Without a service that sets up name spaces, and without one for networks: what a build may do everywhere.
BUILDAH = (
    "buildah",
    "--storage-driver",
    "vfs",
    "--root",
    str(WORK / "storage"),
    "--runroot",
    str(WORK / "run"),
)


def buildah(*words: str, keep: bool = True) -> str:
    """Run buildah; return what it says."""
    done = subprocess.run([*BUILDAH, *words], capture_output=keep, text=True, check=False)
    if done.returncode != 0:
        lines = ((done.stdout or "") + (done.stderr or "")).strip().splitlines()
        raise RuntimeError(f"buildah {words[0]} ended with {done.returncode}:\n" + "\n".join(lines[-15:]))
    return (done.stdout or "").strip()


def local_base(architecture: str) -> str:
    """Make a base of Debian's packages, about what the registry's slim image is."""
    name = f"localhost/edgeleuk-base-{architecture}"
    archive = WORK / f"{RELEASE}-{architecture}.tar"
    if not archive.exists():
        # What the slim image leaves out, too.
        left_out = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")
        subprocess.run(
            [
                *("mmdebstrap", "--variant=minbase", f"--architectures={architecture}", "--quiet"),
                *(f"--dpkgopt=path-exclude={pattern}" for pattern in left_out),
                *("--aptopt=APT::Install-Recommends false", RELEASE, str(archive)),
            ],
            check=True,
        )
    working = buildah("from", "--arch", architecture, "scratch")
    buildah("add", working, str(archive), "/")
    buildah("config", "--arch", architecture, "--cmd", "bash", working)
    buildah("commit", "--rm", working, name)
    return name


def built(architecture: str, base: str) -> dict[str, Any]:
    """Build the image, weigh it, and let it count."""
    name = f"localhost/edgeleuk-{architecture}"
    given = {
        name: os.environ[name] for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL") if name in os.environ
    }
    buildah(
        *("build", "--arch", architecture, "--isolation", "chroot", "--network", "host"),
        *("--build-arg", f"BASE={base}"),
        *(word for key, value in given.items() for word in ("--build-arg", f"{key}={value}")),
        *("--volume", f"{CERTIFICATES}:{THERE}:ro", "--build-arg", f"PIP_CERT={THERE}"),
        *("--tag", name, str(REPOSITORY)),
    )
    (image,) = json.loads(buildah("images", "--json", name))
    working = buildah("from", "--arch", architecture, name)
    weight = du(Path(buildah("mount", working)))
    said = buildah("run", "--isolation", "chroot", working, "--", "edgeleuk", *RUN, "--json")
    user = buildah("run", "--isolation", "chroot", working, "--", "id", "-un")
    buildah("rm", working)
    counted = json.loads(said[said.index("{") :])
    return {"size": image["size"], "mb": weight / 1e6, "user": user, "cells": counted["cells"]["unique"]}


def du(folder: Path) -> int:
    """Add up what the files of a folder take, each once."""
    seen: dict[int, int] = {}
    for path in folder.rglob("*"):
        status = path.lstat()
        seen[status.st_ino] = status.st_size
    return sum(seen.values())


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--architecture", choices=MACHINES, default="amd64")
    parser.add_argument("--base", help="an image of a registry, instead of one made here")
    asked = parser.parse_args()
    tools = ["buildah", *([] if asked.base else ["mmdebstrap"])]
    emulated = MACHINES[asked.architecture] != platform.machine()
    tools += [STATIC] if emulated else []
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        say(f"error: {', '.join(missing)} not found: apt-get install buildah mmdebstrap qemu-user-static")
        return 5
    begun = time.monotonic()
    WORK.mkdir(parents=True, exist_ok=True)
    say(f"{asked.architecture}: building")
    with arm64_programs(str(shutil.which(STATIC)), "F") if emulated else nullcontext():
        result = built(asked.architecture, asked.base or local_base(asked.architecture))
    bars = {
        f"{asked.architecture}: under {MOST_MB} MB": {
            "measured": f"{result['mb']:.0f} MB",
            "met": result["mb"] < MOST_MB,
        },
        f"{asked.architecture}: counts cells": {"measured": result["cells"], "met": result["cells"] > 0},
        f"{asked.architecture}: not as root": {
            "measured": result["user"],
            "met": result["user"] == "edgeleuk",
        },
    }
    whole = {
        "schema_version": 1,
        "minutes": round((time.monotonic() - begun) / 60, 1),
        "results": {asked.architecture: result},
        "bars": bars,
    }
    return finish(WORK, whole)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except MissingToolError as error:
        say(f"error: {error}")
        sys.exit(5)
    except (subprocess.CalledProcessError, RuntimeError) as error:
        say(f"error: {error}")
        sys.exit(1)
