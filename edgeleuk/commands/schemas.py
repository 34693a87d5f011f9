"""JSON schemas of what commands print: ``python -m edgeleuk.commands.schemas [FOLDER]`` writes them.

They are made from the structs that the commands return, and stand in ``docs/schema``, those of the
workstation beside them.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from edgeleuk.batch.archive import ArchiveResult
from edgeleuk.batch.images import Classification, Segmentation
from edgeleuk.capture.discovery import CameraList
from edgeleuk.commands.bundle import BundleDescription, BundleVerification
from edgeleuk.commands.probe import ProbeResult
from edgeleuk.commands.replay import Replay
from edgeleuk.results.structs import RunSummary
from edgeleuk.session.report import SessionReport
from edgeleuk.session.verify import SessionVerification

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeleuk.results.structs import Printed

DIALECT = "https://json-schema.org/draft/2020-12/schema"
# Name of the schema -> what the command prints with --json.
PRINTED: Mapping[str, type[Printed]] = {
    "run": RunSummary,
    "classify": Classification,
    "classify-folder": ArchiveResult,
    "segment": Segmentation,
    "inspect": BundleDescription,
    "verify-bundle": BundleVerification,
    "verify-session": SessionVerification,
    "report": SessionReport,
    "replay": Replay,
    "camera-list": CameraList,
    "camera-probe": ProbeResult,
}


def schema_of(name: str, printed: Mapping[str, type[Printed]] = PRINTED) -> dict[str, Any]:
    """Return the JSON schema of what a command prints.

    Examples
    --------
    >>> schema_of("replay")["$ref"]
    '#/$defs/Replay'
    """
    return {"$schema": DIALECT, **msgspec.json.schema(printed[name])}


def schema_text(name: str, printed: Mapping[str, type[Printed]] = PRINTED) -> str:
    """Return the schema as it stands in its file."""
    encoded = msgspec.json.encode(schema_of(name, printed), order="sorted")
    return msgspec.json.format(encoded, indent=1).decode() + "\n"


def write_schemas(folder: Path, printed: Mapping[str, type[Printed]] = PRINTED) -> list[Path]:
    """Write ``NAME.json`` for each; return what was written."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name in printed:
        path = folder / f"{name}.json"
        path.write_text(schema_text(name, printed), encoding="utf-8")
        written.append(path)
    return written


if __name__ == "__main__":
    write_schemas(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/schema"))
