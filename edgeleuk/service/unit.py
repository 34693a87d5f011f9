"""The files of the service: systemd's unit, rules for devices, its user, and who may read what."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from edgeleuk.service.network import Network

NAME = "edgeleuk"
UNIT = f"{NAME}.service"
HEAD = "# Written by edgeleuk.\n"
GROUPS = ("video", "dialout")
# Without a frame for so long the manager ends the service; `edgeleuk.service.notify` is faster by a quarter.
WATCHDOG_S = 45
# What is left to write down why, before the service is killed.
ABORT_S = 10
CONFIG = Path("/etc/edgeleuk/edgeleuk.toml")
STATE = Path("/var/lib/edgeleuk")
CACHE = Path("/var/cache/edgeleuk")
# Of the unit, of udev's rules, of the user, and of who may read the settings.
PLACES = (
    Path(f"/etc/systemd/system/{UNIT}"),
    Path(f"/etc/udev/rules.d/70-{NAME}.rules"),
    Path(f"/etc/sysusers.d/{NAME}.conf"),
    Path(f"/etc/tmpfiles.d/{NAME}.conf"),
)


@dataclass(frozen=True)
class Plan:
    """What the files are made from.

    Attributes
    ----------
    python : Path
        The interpreter that has edgeleuk.
    network : Network
    cameras : tuple of str
        Classes of devices in ``/proc/devices`` that the camera needs.
    stage : bool
        Whether a serial port is needed.
    needs_host : bool
        Whether the camera's library speaks with a daemon of the system, as a Jetson's does.
    writable : tuple of Path
        Folders beside the service's own that it records into.
    """

    python: Path
    network: Network = field(default_factory=Network)
    cameras: tuple[str, ...] = ("video4linux", "media", "dma_heap")
    stage: bool = True
    needs_host: bool = False
    writable: tuple[Path, ...] = ()


def unit_text(plan: Plan) -> str:
    """Write the unit."""
    return HEAD + "\n".join(
        [
            "[Unit]",
            "Description=edgeleuk finds and counts blood cells under a microscope",
            *([] if plan.network.is_none else ["Wants=network-online.target"]),
            f"After=time-sync.target{'' if plan.network.is_none else ' network-online.target'}",
            *(f"RequiresMountsFor={_quoted(path)}" for path in plan.writable),
            "# It never gives up: between failures it waits longer and longer, up to a minute.",
            "StartLimitIntervalSec=0",
            "",
            "[Service]",
            *_life(plan),
            "",
            "# What it may do: it has no rights but to read the system, its devices and its settings.",
            *_rights(plan),
            "",
            "# Which devices it may open.",
            *_devices(plan),
            "",
            "# Whom it may speak with.",
            *_network(plan.network),
            "",
            "[Install]",
            "WantedBy=multi-user.target",
            "",
        ]
    )


def _life(plan: Plan) -> list[str]:
    return [
        "Type=notify",
        "NotifyAccess=main",
        f"ExecStart={_quoted(plan.python)} -I -m edgeleuk service run --config {_quoted(CONFIG)}",
        f"User={NAME}",
        f"Group={NAME}",
        f"SupplementaryGroups={' '.join(GROUPS)}",
        f"WorkingDirectory={STATE}",
        f"StateDirectory={STATE.name}",
        "StateDirectoryMode=0750",
        f"CacheDirectory={CACHE.name}",
        f"Environment=HOME={STATE} XDG_DATA_HOME={STATE} XDG_CACHE_HOME={CACHE}",
        "UMask=0027",
        "Restart=on-failure",
        "RestartSec=2",
        "# Stopped before anything was recorded.",
        "SuccessExitStatus=130",
        "# The hash chain of a long session is checked before it goes on.",
        "TimeoutStartSec=30min",
        "TimeoutStopSec=45",
        "# Signs of life are sent only while frames are recorded.",
        f"WatchdogSec={WATCHDOG_S}",
        f"TimeoutAbortSec={ABORT_S}",
        "KillMode=mixed",
        "# A core would hold pictures.",
        "LimitCORE=0",
    ]


def _rights(plan: Plan) -> list[str]:
    return [
        *("CapabilityBoundingSet=", "AmbientCapabilities=", "NoNewPrivileges=yes"),
        "ProtectSystem=strict",
        *(f"ReadWritePaths={_quoted(path)}" for path in plan.writable),
        "ProtectHome=yes",
        *([] if plan.needs_host else ["PrivateTmp=yes"]),
        *("ProtectClock=yes", "ProtectControlGroups=yes", "ProtectHostname=yes"),
        *("ProtectKernelLogs=yes", "ProtectKernelModules=yes", "ProtectKernelTunables=yes"),
        *("ProtectProc=invisible", "LockPersonality=yes", "MemoryDenyWriteExecute=yes"),
        *("RestrictNamespaces=yes", "RestrictRealtime=yes", "RestrictSUIDSGID=yes"),
        *("RemoveIPC=yes", "KeyringMode=private", "SystemCallArchitectures=native"),
        *("SystemCallFilter=@system-service", "SystemCallFilter=~@privileged", "SystemCallErrorNumber=EPERM"),
    ]


def _devices(plan: Plan) -> list[str]:
    if plan.needs_host:
        return ["# The library of this camera opens many, so that none is forbidden."]
    serial = ("ttyACM", "ttyAMA", "ttyS", "ttyUSB") if plan.stage else ()
    return ["DevicePolicy=closed", *(f"DeviceAllow=char-{name} rw" for name in (*plan.cameras, *serial))]


def _network(network: Network) -> list[str]:
    if network.is_none:
        return [
            "PrivateNetwork=yes",
            "IPAddressDeny=any",
            "RestrictAddressFamilies=AF_UNIX AF_NETLINK",
            "SocketBindDeny=any",
        ]
    named = [f"# {host} was at these addresses when this was written." for host in network.by_name]
    # Port 0 is any that is free.
    bind = [] if network.port is None else [f"SocketBindAllow=tcp{f':{network.port}' * (network.port > 0)}"]
    return [
        *named,
        "RestrictAddressFamilies=AF_UNIX AF_NETLINK AF_INET AF_INET6",
        "IPAddressDeny=any",
        f"IPAddressAllow={' '.join(network.allowed)}",
        "SocketBindDeny=any",
        *bind,
    ]


def sysusers_text() -> str:
    """Write who the service is, for systemd-sysusers: a user without a password and a shell."""
    members = [f"m {NAME} {group}" for group in GROUPS]
    return HEAD + "\n".join([f'u {NAME} - "edgeleuk service" {STATE}', *members, ""])


def tmpfiles_text() -> str:
    """Write who may read the settings, for systemd-tmpfiles: they may hold a camera's password."""
    return HEAD + f"z {CONFIG} 0640 root {NAME} -\n"


def rules_text() -> str:
    """Write what holds for devices as they are plugged in, for udev."""
    boards = "\n".join(
        f'# {name}\nACTION!="remove", SUBSYSTEMS=="usb", ATTRS{{idVendor}}=="{vendor}",'
        f' ENV{{ID_MM_DEVICE_IGNORE}}="1"'
        for vendor, name in _BOARDS.items()
    )
    return (
        f"{HEAD}# Cameras, and the memory that a Pi's share, belong to who is in the group video.\n"
        'SUBSYSTEM=="video4linux", GROUP="video", MODE="0660"\n'
        'SUBSYSTEM=="media", GROUP="video", MODE="0660"\n'
        'SUBSYSTEM=="dma_heap", GROUP="video", MODE="0660"\n'
        "# A USB camera that sleeps loses its first frames, and some do not wake.\n"
        'ACTION=="add", SUBSYSTEM=="usb", ENV{DEVTYPE}=="usb_device", ENV{ID_USB_INTERFACES}=="*:0e*",'
        ' TEST=="power/control", ATTR{power/control}="on"\n'
        "# Motor boards are no modems: ModemManager is to leave them alone.\n"
        'SUBSYSTEM=="tty", KERNEL=="ttyUSB*|ttyACM*", GROUP="dialout", MODE="0660"\n'
        f"{boards}\n"
    )


# Of Arduinos, of the usual chips on motor boards, and of the Raspberry Pi Pico (Sangaboard 0.5).
_BOARDS = {
    "2341": "Arduino",
    "2a03": "Arduino",
    "1a86": "CH340, CH341",
    "10c4": "CP210x",
    "0403": "FTDI",
    "2e8a": "Raspberry Pi Pico",
}


def files_of(plan: Plan) -> dict[Path, str]:
    """Return the files of the service, by their places below the root, but for the settings."""
    texts = (unit_text(plan), rules_text(), sysusers_text(), tmpfiles_text())
    return dict(zip(PLACES, texts, strict=True))


def shown(files: dict[Path, str]) -> str:
    """Show files as one text, each under its place."""
    return "\n".join(f"# {place}\n{text}" for place, text in files.items()).rstrip("\n")


def _quoted(path: Path) -> str:
    """Write a path as a unit takes it, where some letters mean something else, and blanks end a word."""
    text = str(path)
    for letter, meant in (("\\", "\\\\"), ("%", "%%"), ("$", "$$"), ('"', '\\"')):
        text = text.replace(letter, meant)
    return f'"{text}"' if any(letter.isspace() or letter in "'\"" for letter in text) else text
