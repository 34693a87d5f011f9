"""A bundle as Python names it, with the settings that it is used with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeleuk.bench.choosing import settled
from edgeleuk.bundle.trusted import read_trusted_bundle
from edgeleuk.io.settings import RunSettings, load_settings

if TYPE_CHECKING:
    from pathlib import Path

    from edgeleuk.bundle.contents import Bundle


def bundle_and_settings(bundle: str | Path, flags: dict[str, Any]) -> tuple[Bundle, RunSettings]:
    """Read a bundle, and settle how it is used: the runtime is chosen where nothing names one.

    Parameters
    ----------
    bundle : str or Path
        Path of a bundle, or ``default``.
    flags : dict of str to object
        Settings by their names; None takes the value of an ``EDGELEUK_*`` variable, or the default.

    Raises
    ------
    UsageError, BundleError, CheckFailedError, MissingDependencyError
        A setting is out of range, the bundle is damaged or was rejected, or no runtime fits.
    """
    settings = load_settings(RunSettings, flags=flags)
    opened = read_trusted_bundle(str(bundle))
    return opened, settled(settings, opened)
