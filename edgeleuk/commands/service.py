"""``edgeleuk service install``: from the settings to what the service may do."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec

from edgeleuk.errors import EdgeleukError, UsageError
from edgeleuk.io.console import warn
from edgeleuk.io.settings import Settings, load_settings
from edgeleuk.io.settings_file import to_toml
from edgeleuk.serve.address import page_of_settings
from edgeleuk.service.install import Target, install, require_system, require_within_reach
from edgeleuk.service.network import network_of
from edgeleuk.service.unit import CONFIG, HEAD, STATE, Plan, files_of, shown

# Settings that name a file.
_FILES = ("bundle", "flat_field", "stage_config", "control", "tls_cert", "mqtt_ca", "mqtt_cert")
# Those that hold a secret: nobody's to read but the service's, which is let in by its group.
_SECRETS = ("tls_key", "mqtt_key", "mqtt_password_file")
# Words in their place that name none.
_WORDS = ("default",)


def service_files(config: Path | None, *, print_only: bool, root: Path | None = None) -> str:
    """Install the service, or only show its files.

    Parameters
    ----------
    config : Path, optional
        Settings; without it those of the service that are there, else the defaults.
    print_only : bool
    root : Path, optional
        Write into this system, which does not run, instead of the one that does.

    Returns
    -------
    str
        For people: the files, or what was written.

    Raises
    ------
    EdgeleukError
        See `edgeleuk.service.install`.
    """
    target = Target() if root is None else Target(root, is_live=False)
    if not print_only:
        require_system(target)
    settings = _settings(config, target)
    plan = plan_of(settings)
    if print_only:
        return shown(files_of(plan))
    _require_files(plan, settings)
    written = install(plan, HEAD + to_toml(settings), target)
    lines = [f"written   {path}" for path in written]
    if target.is_live:
        return "\n".join([*lines, "started   see `edgeleuk service status` and `edgeleuk service logs`"])
    return "\n".join([*lines, "enabled   it starts with that system"])


def plan_of(settings: Settings) -> Plan:
    """Return what a service with such settings needs.

    Raises
    ------
    UsageError
        A setting cannot be read, or names a host that is not known here.
    """
    page = page_of_settings(settings)
    scheme = (settings.camera or "").partition(":")[0].lower()
    usb, ribbon = ("video4linux",), ("video4linux", "media", "dma_heap")
    session = None if settings.session is None else STATE / settings.session
    return Plan(
        Path(sys.executable),
        network_of(settings, None if page is None else (page.host, page.port)),
        cameras=usb if scheme == "v4l2" else ribbon if scheme in ("", "picamera", "gstreamer") else (),
        stage=settings.stage is not None and "://" in settings.stage and settings.stage.startswith("serial"),
        needs_host=scheme == "gstreamer",
        writable=() if session is None or session.parent.is_relative_to(STATE) else (session.parent,),
    )


def _settings(config: Path | None, target: Target) -> Settings:
    """Read the settings, with whole paths: the service works in a folder of its own."""
    installed = target.place(CONFIG)
    file = config or (installed if installed.is_file() else None)
    # What the environment of the one who installs says is not the service's.
    settings = load_settings(Settings, file=file, environ={}, command="service install")
    folder = Path.cwd() if file is None else file.absolute().parent
    whole = {}
    for name in (*_FILES, *_SECRETS):
        value = getattr(settings, name)
        if value is not None and value not in _WORDS:
            whole[name] = os.path.normpath(folder / Path(value).expanduser())
    return msgspec.structs.replace(settings, **whole)


def _require_files(plan: Plan, settings: Settings) -> None:
    """See that the service will be able to read what it needs."""
    try:
        for place in (Path(sys.prefix), plan.python):
            require_within_reach("Python", place)
    except UsageError as error:
        raise UsageError(
            "the service cannot use this installation of edgeleuk",
            got=error.got or sys.prefix,
            cure="install it once more: sudo python3 -m venv --system-site-packages /opt/edgeleuk,"
            " then install its wheel by /opt/edgeleuk/bin/pip, and the service by /opt/edgeleuk/bin/edgeleuk",
        ) from error
    for name in (*_FILES, *_SECRETS):
        value = getattr(settings, name)
        if value is not None and value not in _WORDS:
            _require_file(name, Path(value))
    for folder in plan.writable:
        if not folder.is_dir():
            raise UsageError(
                "the folder of the session is not there", got=folder, cure=f"sudo mkdir {folder}"
            )
        warn(f"the service's user has to be allowed to write there: sudo chgrp edgeleuk {folder}")


def _require_file(name: str, path: Path) -> None:
    try:
        require_within_reach(name, path)
    except EdgeleukError:
        if name not in _SECRETS or not path.is_file():
            raise
        warn(f"the service's user has to be allowed to read {path}: sudo chgrp edgeleuk {path}")
