"""Settings: defaults, then a TOML file, then ``EDGELEUK_*`` variables, then flags; the later wins."""

from __future__ import annotations

import math
import os
import re
import sys
from dataclasses import is_dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_type_hints

import msgspec

from edgeleuk.errors import UsageError
from edgeleuk.io.console import warn
from edgeleuk.io.nearest import did_you_mean
from edgeleuk.io.pictures.limit import MOST_MEGAPIXELS
from edgeleuk.io.storage_bounds import StorageBounds

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PREFIX = "EDGELEUK_"
# Not settings: where the tests' images are, which file to read, and what no list of settings is to show.
RESERVED = ("EDGELEUK_DATA", "EDGELEUK_CONFIG", "EDGELEUK_MQTT_PASSWORD")
RuntimeChoice = Literal["auto", "litert", "onnxruntime", "openvino", "cuda", "tensorrt"]
# Words of before that are still read in files and variables of `RunSettings`.
RENAMED = {"gate": "quality_check"}


class RunSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What ``edgeleuk run`` needs besides its camera and its files.

    Attributes
    ----------
    runtime : str
        ``litert``, ``onnxruntime``, ``openvino``, ``cuda`` or ``tensorrt``. ``auto`` is the faster of the
        first two that passes the self-test on this machine.
    precision : str
        ``int8`` or ``float32``.
    threads : int
        Of the network; 1 leaves a core to the camera on a two-core board.
    px_per_um : float or None
        Scale of the camera's picture; None estimates it from the red cells.
    abstain : str
        What makes a cell uncertain by its probability: the bundle's ``band`` around the threshold, its
        ``conformal`` sets, or nothing (``off``). Foreign cells stay uncertain in any case.
    reconnects : int
        How often in a row a lost camera is tried before it is given up, in about a minute and a half;
        0 ends the run with the first loss.
    quality_check : bool
        Reject frames that are blurred, badly lit, empty or too thick, and count them by reason.
    most_megapixels : float
        Larger pictures are refused by their header, before they are decoded.
    flat_field : str or None
        Picture of empty glass that every frame is divided by.
    exposure_ms : float or None
        None leaves it to the camera.
    gain : float or None
        As many times on a Pi, in the device's own units elsewhere.
    white_balance : float, str or None
        Kelvin; on a Pi the gains of red and blue, as ``"1.9,1.5"``.
    lock : bool
        Take a camera's automatic modes away once they have settled.
    every_frame : bool
        Let frames of a camera wait for their turn, as many as fit, where otherwise the newest wins.
    until_points : float or None
        End the run when the exact 95 % interval of the share of blasts is plus or minus so many points of a
        percentage; None counts on.
    until_of : str or None
        Of which cells that share is: ``white``, all nucleated white cells, or ``lymphoid``, those called
        blast or normal. None takes the white ones where the bundle names kinds.
    until_cells : int or None
        End the run when so many cells are counted; None counts on.
    split : str or None
        When the session goes on in a new file: a time (``1h``) or a number of frames (``10000``).
    keep : str or None
        How much of the session's pictures is kept: a time (``30d``) or a size (``20GB``); the oldest go
        first.
    keep_results : str or None
        How much of the session is kept at all: its older files are removed, what was counted there with
        them. None never removes a result.
    pictures : str
        Which pictures of cells the session keeps: ``all``, those of ``doubtful`` cells and of a sample of the
        others, or ``none``.
    durability : str
        When a frame is on the disk: ``frame`` by frame, or within a ``second``.
    """

    runtime: RuntimeChoice = "auto"
    precision: Literal["int8", "float32"] = "int8"
    threads: int = 1
    px_per_um: float | None = None
    abstain: Literal["band", "conformal", "off"] = "band"
    reconnects: int = 60
    quality_check: bool = True
    most_megapixels: float = MOST_MEGAPIXELS
    flat_field: str | None = None
    exposure_ms: float | None = None
    gain: float | None = None
    white_balance: float | str | None = None
    lock: bool = True
    every_frame: bool = False
    until_points: float | None = None
    until_of: Literal["white", "lymphoid"] | None = None
    until_cells: int | None = None
    split: str | None = None
    keep: str | None = None
    keep_results: str | None = None
    pictures: Literal["all", "doubtful", "none"] = "all"
    durability: Literal["frame", "second"] = "second"

    def __post_init__(self) -> None:
        if not 1 <= self.threads <= 64:
            msg = f"expected threads from 1 to 64, got {self.threads}"
            raise ValueError(msg)
        if self.px_per_um is not None and not 0.1 <= self.px_per_um <= 200:
            msg = f"expected px_per_um from 0.1 to 200, got {self.px_per_um}"
            raise ValueError(msg)
        if not 0 <= self.reconnects <= 1000:
            msg = f"expected reconnects from 0 to 1000, got {self.reconnects}"
            raise ValueError(msg)
        if not 0.01 <= self.most_megapixels <= 1000:
            msg = f"expected most_megapixels from 0.01 to 1000, got {self.most_megapixels}"
            raise ValueError(msg)
        for name in ("exposure_ms", "gain"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                msg = f"expected {name} of 0 or more, got {value}"
                raise ValueError(msg)
        white_balance_of(self.white_balance)
        if self.until_points is not None and not 0.1 <= self.until_points <= 50:
            msg = f"expected until_points from 0.1 to 50, got {self.until_points}"
            raise ValueError(msg)
        if self.until_cells is not None and not 1 <= self.until_cells <= 10**9:
            msg = f"expected until_cells of 1 or more, got {self.until_cells}"
            raise ValueError(msg)
        self.storage_bounds()

    def storage_bounds(self) -> StorageBounds:
        """Return when the session goes on in a new file, and how much of it is kept."""
        return StorageBounds.of(self.split, self.keep, self.keep_results)


class Settings(RunSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What ``edgeleuk.toml`` may hold: the settings of a run, and what it works with.

    Attributes
    ----------
    camera : str or None
        URI of a source; None takes the only camera there is.
    bundle : str
        A bundle's path, or ``default``.
    session : str or None
        The file to record into, or to go on with.
    stage : str or None
        URL of a stage.
    stage_config : str or None
        TOML file that says how the stage is built.
    control : str or None
        The laboratory's file of control sessions, or ``default`` for the one in the user's own folder; a run
        is held against them.
    control_required : bool
        Refuse a run without limits, and end one whose first fields are out of range.
    autofocus : bool
        Keep the camera in focus by the stage, as ``run --autofocus`` does.
    serve : str or None
        ``[HOST:]PORT`` where a run is shown in a browser.
    tls_cert, tls_key : str or None
        Certificate and key of that page, as PEM files.
    session_per : str
        Of the service: ``start`` begins a session with each start, ``day`` with each day. One that was cut
        off is gone on with. Where `session` is set, that one is always gone on with.
    mqtt : str or None
        The broker that a run tells what it counts, and the stand's own prefix of topics:
        ``mqtt[s]://USER@HOST:PORT/PREFIX``.
    mqtt_password_file : str or None
        A file whose first line is the user's password; else ``EDGELEUK_MQTT_PASSWORD`` holds it.
    mqtt_ca : str or None
        PEM file of the authority that signed the broker's certificate, where the system does not know it.
    mqtt_cert, mqtt_key : str or None
        PEM files of this stand's own certificate, where the broker asks for one.
    mqtt_discovery : str
        Below which topic Home Assistant listens; empty where it is not to be told.
    """

    camera: str | None = None
    bundle: str = "default"
    session: str | None = None
    stage: str | None = None
    stage_config: str | None = None
    control: str | None = None
    control_required: bool = False
    autofocus: bool = False
    serve: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    session_per: Literal["start", "day"] = "start"
    mqtt: str | None = None
    mqtt_password_file: str | None = None
    mqtt_ca: str | None = None
    mqtt_cert: str | None = None
    mqtt_key: str | None = None
    mqtt_discovery: str = "homeassistant"

    def of_run(self) -> RunSettings:
        """Return the settings of the run alone."""
        return RunSettings(**{name: getattr(self, name) for name in RunSettings.__struct_fields__})


def white_balance_of(text: float | str | None) -> tuple[float, ...]:
    """Read a white balance: kelvin, or the gains of red and blue; nothing is empty.

    Examples
    --------
    >>> white_balance_of("1.9,1.5"), white_balance_of(4600)
    ((1.9, 1.5), (4600.0,))

    Raises
    ------
    ValueError
        It is neither.
    """
    if text is None:
        return ()
    try:
        value = tuple(float(part) for part in str(text).split(","))
    except ValueError:
        value = ()
    if not 1 <= len(value) <= 2 or not all(0 < part < math.inf for part in value):
        msg = f"expected white_balance as kelvin (4600) or as gains of red and blue (1.9,1.5), got {text!r}"
        raise ValueError(msg)
    return value


SettingsT = TypeVar("SettingsT")


def load_settings(
    settings: type[SettingsT],
    *,
    defaults: Mapping[str, object] | None = None,
    file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, object] | None = None,
    command: str = "run",
    renamed: Mapping[str, str] = RENAMED,
) -> SettingsT:
    """Merge the layers and check the result.

    Parameters
    ----------
    settings : type
        A msgspec struct or a dataclass, such as `RunSettings`. A field that is one itself is a table of
        the file.
    defaults : mapping, optional
        Values that take the place of the fields' own defaults.
    file : Path, optional
        TOML with the fields at the top level.
    environ : mapping, optional
        ``EDGELEUK_THREADS=2`` sets ``threads``; by default the process's own environment.
    flags : mapping, optional
        Command-line values; None means that the flag was not given.
    command : str
        Whose help an error points to.
    renamed : mapping, optional
        Words of before, and what they are called now: read with a warning.

    Raises
    ------
    UsageError
        An unknown key (with its line in the file), a value of the wrong kind or out of range, or a file
        that is missing or no TOML.
    """
    return load_with_sources(
        settings,
        defaults=defaults,
        file=file,
        environ=environ,
        flags=flags,
        command=command,
        renamed=renamed,
    )[0]


def load_with_sources(
    settings: type[SettingsT],
    *,
    defaults: Mapping[str, object] | None = None,
    file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, object] | None = None,
    command: str = "run",
    renamed: Mapping[str, str] = RENAMED,
) -> tuple[SettingsT, dict[str, str]]:
    """Do what `load_settings` does, and tell where each value comes from.

    Returns
    -------
    settings : SettingsT
    sources : dict
        For each field that is set ``flag``, ``environment`` or ``file``; the others are defaults.
    """
    kinds = get_type_hints(settings)
    renamed = {old: new for old, new in renamed.items() if new in kinds}
    cure = f"see `edgeleuk {command} --help`"
    values: dict[str, Any] = dict(defaults or {})
    sources: dict[str, str] = {}
    # How the file spells a field: by a word of before, or as it is called.
    spelled: dict[str, str] = {}
    text = ""
    if file is not None:
        text = _read(file)
        of_file = _parsed(file, text)
        _refuse_unknown(of_file, settings, file, text, renamed)
        for key, value in of_file.items():
            name = _name_now(key, renamed, of_file, str(file))
            if name is not None:
                values[name], sources[name], spelled[name] = value, "file", key
    of_environ = _of_environ(os.environ if environ is None else environ, kinds, renamed, cure)
    given = {name: value for name, value in (flags or {}).items() if value is not None}
    values.update(of_environ | given)
    sources |= dict.fromkeys(of_environ, "environment") | dict.fromkeys(given, "flag")
    try:
        return msgspec.convert(values, settings), sources
    except msgspec.ValidationError as error:
        place = re.search(r"at `\$\.([\w.]+)", str(error))
        path = tuple(place[1].split(".")) if place else ()
        line = _line_of((spelled.get(path[0], path[0]), *path[1:]), text) if path else None
        where = f" ({file}, line {line})" if line else ""
        raise UsageError(f"bad setting: {error}{where}", cure=cure) from error


def _of_environ(
    environ: Mapping[str, str], kinds: Mapping[str, Any], renamed: Mapping[str, str], cure: str
) -> dict[str, Any]:
    """Read the ``EDGELEUK_*`` variables; those of a run's other settings are known, and left alone."""
    values: dict[str, Any] = {}
    words = {
        key.removeprefix(PREFIX).lower(): word
        for key, word in environ.items()
        if key.startswith(PREFIX) and key not in RESERVED
    }
    for typed, word in words.items():
        key = PREFIX + typed.upper()
        name = _name_now(typed, renamed, words, "the environment")
        if name is None or (name not in kinds and name in Settings.__struct_fields__):
            continue
        if name not in kinds:
            allowed = [PREFIX + known.upper() for known in kinds]
            raise UsageError(
                f"unknown variable {key}", allowed=", ".join(allowed), cure=did_you_mean(key, allowed)
            )
        try:
            # strict=False lets a variable's text become the field's number.
            values[name] = msgspec.convert(word, kinds[name], strict=False)
        except msgspec.ValidationError as error:
            raise UsageError(f"bad setting: {error} - at `{key}`", cure=cure) from error
    return values


def _name_now(key: str, renamed: Mapping[str, str], keys: Mapping[str, object], where: str) -> str | None:
    """Return what a key is called now; None where the new word stands beside the old one, and wins."""
    name = renamed.get(key, key)
    if name != key:
        warn(f"the setting {key} is now called {name} (in {where})")
    return None if name != key and name in keys else name


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UsageError("there is no such configuration file", got=file) from None
    except OSError as error:
        raise UsageError(f"{file} cannot be read", got=error.strerror) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{file} is no TOML", got=str(error)) from error


def _parsed(file: Path, text: str) -> dict[str, Any]:
    try:
        return dict(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{file} is no TOML", got=str(error)) from error


def _refuse_unknown(
    values: Mapping[str, Any],
    settings: type,
    file: Path,
    text: str,
    renamed: Mapping[str, str],
    above: tuple[str, ...] = (),
) -> None:
    """Refuse a key that `settings` has no field for, in tables too; words of before are known."""
    kinds = get_type_hints(settings)
    for key, value in values.items():
        path = (*above, key)
        name = renamed.get(key, key)
        if name not in kinds:
            line = _line_of(path, text) or 1
            raise UsageError(
                f"unknown key in {file}, line {line}",
                got=".".join(path),
                allowed=", ".join(kinds),
                cure=did_you_mean(key, kinds),
            )
        for kind in (kinds[name], *get_args(kinds[name])):
            if isinstance(value, dict) and (is_dataclass(kind) or hasattr(kind, "__struct_fields__")):
                _refuse_unknown(value, kind, file, text, {}, path)


def _line_of(path: tuple[str, ...], text: str) -> int | None:
    """Find the line that sets a key, be it in a table, dotted, or in an inline table."""
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[+\s*([^\]]+?)\s*\]", line):
            table = _names(header[1])
            if table == path:
                return number
        elif setting := re.match(r"\s*([^=#]+?)\s*=(.*)", line):
            names = (*table, *_names(setting[1]))
            inside = all(re.search(rf"\b{re.escape(name)}\b", setting[2]) for name in path[len(names) :])
            if names[: len(path)] == path or (names == path[: len(names)] and inside):
                return number
    return None


def _names(dotted: str) -> tuple[str, ...]:
    return tuple(name.strip().strip("\"'") for name in dotted.split("."))
