"""Cameras and stages that other packages bring: found by entry points, imported when asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeleuk.errors import EdgeleukError, MissingDependencyError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from importlib.metadata import EntryPoint

CAMERAS = "edgeleuk.cameras"
STAGES = "edgeleuk.stages"
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")


class PluginError(MissingDependencyError):
    """A plug-in cannot be used: it fails when it is imported, or its scheme is not its own."""


@dataclass(frozen=True, slots=True)
class Plugin:
    """A scheme that an installed package adds.

    Attributes
    ----------
    scheme : str
        What stands before ``://``.
    packages : tuple of str
        Name and version of the package; of several that want the same scheme, each.
    error : PluginError or None
        Why it is not used, where that is known without importing it.
    """

    scheme: str
    packages: tuple[str, ...]
    error: PluginError | None
    entry: EntryPoint

    @property
    def package(self) -> str:
        """The package, or those that quarrel."""
        return " and ".join(self.packages)


def installed_plugins(group: str, built_in: Collection[str]) -> list[Plugin]:
    """Return what the installed packages add, by the names that they state; none is imported.

    Parameters
    ----------
    group : str
        `CAMERAS` or `STAGES`.
    built_in : collection of str
        Schemes that are taken.

    Returns
    -------
    list of Plugin
        One for each scheme, sorted.
    """
    from importlib.metadata import entry_points  # noqa: PLC0415 - longer to load than most commands

    by_scheme: dict[str, dict[str, EntryPoint]] = {}
    for entry in entry_points(group=group):
        by_scheme.setdefault(entry.name, {})[_package(entry)] = entry
    return [_plugin(scheme, found, built_in) for scheme, found in sorted(by_scheme.items())]


def find_plugin(group: str, scheme: str, built_in: Collection[str]) -> Plugin | None:
    """Return the plug-in of a scheme; None where no package adds it."""
    return next((each for each in installed_plugins(group, built_in) if each.scheme == scheme), None)


def load_plugin(plugin: Plugin) -> Callable[[str], Any]:
    """Import a plug-in, and return what opens its device.

    Raises
    ------
    PluginError
        Its scheme is not its own, or it fails.
    """
    if plugin.error is not None:
        raise plugin.error
    try:
        opener: Callable[[str], Any] = plugin.entry.load()
    except Exception as error:
        raise PluginError(
            f"the plug-in for {plugin.scheme}:// of {plugin.package} cannot be imported",
            got=described(error),
            cure=f"install what it misses, or uninstall {plugin.package.split()[0]}",
        ) from error
    if not callable(opener):
        raise PluginError(
            f"the plug-in for {plugin.scheme}:// of {plugin.package} names nothing that opens a device",
            got=plugin.entry.value,
            allowed="a function of the address",
        )
    return opener


def described(error: BaseException) -> str:
    r"""Name an exception of somebody else's code: its kind, and the first line that it says.

    Examples
    --------
    >>> described(ValueError("no camera\nat line 3"))
    'ValueError: no camera'
    """
    if isinstance(error, EdgeleukError):
        return str(error)
    first = str(error).strip().splitlines()[:1]
    return ": ".join([type(error).__name__, *first])


def _plugin(scheme: str, found: dict[str, EntryPoint], built_in: Collection[str]) -> Plugin:
    packages = tuple(sorted(found))
    error = None
    if not _SCHEME.fullmatch(scheme):
        error = PluginError(
            f"{packages[0]} adds a scheme that no address can have",
            got=repr(scheme),
            allowed="small letters, digits, + . -, a letter first",
        )
    elif scheme in built_in:
        error = PluginError(
            f"{scheme}:// is built in, so what {' and '.join(packages)} adds for it is not used",
            cure="it needs another scheme",
        )
    elif len(packages) > 1:
        error = PluginError(
            f"{len(packages)} packages add {scheme}://",
            got=", ".join(packages),
            allowed="one",
            cure="uninstall the others",
        )
    return Plugin(scheme, packages, error, next(iter(found.values())))


def _package(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist is not None else entry.value
