"""``edgeleuk doctor --bundle FILE.zip``: what somebody needs who helps, without what is nobody's business.

Left out are pictures, passwords and tokens, and the names of users and of the machine wherever they stand.
"""

from __future__ import annotations

import json
import re
import zipfile
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

from edgeleuk.doctor.findings import examination_text
from edgeleuk.doctor.system import SOFTWARE_S
from edgeleuk.errors import UsageError
from edgeleuk.io.atomic import bears, replace_file, require_replaceable, write_errors_of
from edgeleuk.io.uris import HIDDEN, public_text, public_uri

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from edgeleuk.doctor.findings import Examination
    from edgeleuk.doctor.machine import Machine

SUFFIX = ".zip"
# The first member, by which a report is known again.
_FIRST = "edgeleuk-doctor.txt"
# How a setting or a variable is called whose value is nobody's business.
_SECRET = re.compile(
    r"passw|passphrase|\bpass\b|pwd|token|secret|credential|cookie|jwt|api.?key|(^|[-_.])key$", re.IGNORECASE
)
# Settings that are addresses, which may hold passwords.
_ADDRESSES = ("camera", "stage")
# Files of the machine that tell most; each at most so long.
_FILES = ("proc/cpuinfo", "proc/meminfo", "proc/self/mounts", "etc/os-release", "proc/device-tree/model")
_MOST_CHARACTERS = 20_000
_MOST_LINES = 400
# Of the kernel's messages, those that a check may hang on.
_TELLING = re.compile(
    r"usb|uvc|video|mmc|sd[a-z]\b|nvme|ext4|volt|throttl|thermal|soctherm|memory|imx\d|tty", re.IGNORECASE
)
_SERIAL_NUMBER = re.compile(r"(?im)^(serial\s*:|.*\bserialnumber:)\s*\S.*$")
_MAC = re.compile(r"\b(?:[0-9a-f]{2}:){5}[0-9a-f]{2}\b", re.IGNORECASE)
_ASSIGNED = re.compile(r"([\w.-]+)(\s*[=:]\s*)(\"[^\"]*\"|'[^']*'|\S+)")


@dataclass(frozen=True)
class Redaction:
    """Names that a report does not tell.

    Attributes
    ----------
    users, hosts : tuple of str
    """

    users: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()

    def text(self, text: str) -> str:
        """Take names and secrets out of a text.

        Examples
        --------
        >>> Redaction(users=("ada",)).text("/home/ada/a.db token=s3cret rtsp://ada:s3cret@10.0.0.5/live")
        '/home/USER/a.db token=*** rtsp://***:***@10.0.0.5/live'
        """
        text = public_text(text)
        text = re.sub(r"://[^\s/@]*:\*\*\*@", f"://{HIDDEN}:{HIDDEN}@", text)
        text = _ASSIGNED.sub(_hidden_secret, text)
        text = re.sub(r"(/(?:home|Users|media|run/media|var/home)/)[^/\s\"':,]+", r"\1USER", text)
        text = _MAC.sub("MAC", _SERIAL_NUMBER.sub(lambda found: f"{found[1]} {HIDDEN}", text))
        for names, instead in ((self.users, "USER"), (self.hosts, "HOST")):
            for name in names:
                text = re.sub(rf"(?<![\w]){re.escape(name)}(?![\w])", instead, text)
        return text

    def values(self, value: Any, name: str = "") -> Any:
        """Take them out of what is printed as JSON; all of what is called a secret."""
        if isinstance(value, dict):
            return {key: self.values(one, str(key)) for key, one in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.values(one, name) for one in value]
        if value is None or isinstance(value, (bool, int, float)):
            return value
        if _SECRET.search(name):
            return HIDDEN
        return self.text(public_uri(str(value)) if name in _ADDRESSES else str(value))


def _hidden_secret(found: re.Match[str]) -> str:
    name, between, _ = found.groups()
    return f"{name}{between}{HIDDEN}" if _SECRET.search(name) else found[0]


def redaction_of(machine: Machine) -> Redaction:
    """Return the names of this machine and its user that a report must not tell."""
    environ = machine.environ
    users = {environ.get(key, "") for key in ("USER", "LOGNAME", "SUDO_USER")} | {
        machine.output("id", "-un") or ""
    }
    users.add(environ.get("HOME", "").rstrip("/").rpartition("/")[2])
    host = machine.text("proc/sys/kernel/hostname", "etc/hostname") or ""
    # `root` and `pi` tell nothing, and stand for other things.
    telling = tuple(sorted(name for name in users if name and name not in {"root", "pi"}))
    return Redaction(telling, (host,) if host not in {"", "localhost", "raspberrypi"} else ())


def require_zip(file: Path) -> None:
    """Refuse another name than ``FILE.zip``, and what is no report, before anything is examined.

    Raises
    ------
    UsageError
        It is another, or a file that edgeleuk did not make.
    """
    if file.suffix.lower() != SUFFIX:
        raise UsageError(
            "a report of doctor is a ZIP file",
            got=file.name,
            allowed="FILE.zip",
            cure="pass --bundle report.zip; the shipped network is examined in any case",
        )
    require_replaceable(file, bears(_FIRST.encode()), "--bundle")


def write_report(file: Path, found: Examination, machine: Machine, settings: Mapping[str, Any]) -> None:
    """Write the report.

    Parameters
    ----------
    file : Path
    found : Examination
    machine : Machine
    settings : mapping of str to object
        By name; a secret is known by it.

    Raises
    ------
    UsageError
        It cannot be written.
    """
    hide = redaction_of(machine)
    members = {
        _FIRST: hide.text(examination_text(found)),
        "edgeleuk-doctor.json": _json(hide.values(found.to_json())),
        "settings.json": _json(hide.values(dict(settings))),
        "software.json": _json(hide.values(machine.probe("software", timeout_s=SOFTWARE_S)[0])),
    }
    for name in _FILES:
        members[f"machine/{name}"] = hide.text((machine.text(name) or "")[:_MOST_CHARACTERS])
    lines = [line for line in machine.kernel_log() or () if _TELLING.search(line)]
    members["machine/kernel.txt"] = hide.text("\n".join(lines[-_MOST_LINES:]))
    data = BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            if text.strip():
                archive.writestr(name, text + "\n")
    with write_errors_of(file):
        replace_file(file, data.getvalue())


def _json(value: Any) -> str:
    return json.dumps(value, indent=1)
