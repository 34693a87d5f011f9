"""JSON schemas of what commands print: ``python -m edgeleuk.cli.schemas [FOLDER]`` writes them.

They are made from the structs that the commands return, and stand in ``docs/schema``, those of the
workstation beside them: see `edgeleuk_convert.commands.schemas`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from edgeleuk.batch.archive import ArchiveResult
from edgeleuk.batch.images import Classification, Segmentation
from edgeleuk.capture.discovery import CameraList
from edgeleuk.commands.bundle import BundleDescription, BundleVerification
from edgeleuk.commands.labels import LabelsImported, LabelsWritten
from edgeleuk.commands.probe import ProbeResult
from edgeleuk.commands.replay import Replay
from edgeleuk.control.store import ControlFile
from edgeleuk.control.verdicts import ControlList, ControlRemoval, ControlResult
from edgeleuk.labels.checking import LabelCheck
from edgeleuk.labels.listing import LabelList
from edgeleuk.results.schemas import write_schemas
from edgeleuk.results.structs import RunSummary
from edgeleuk.session.report import SessionReport
from edgeleuk.session.verify import SessionVerification

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeleuk.results.structs import Printed

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
    "labels-list": LabelList,
    "labels-written": LabelsWritten,
    "labels-import": LabelsImported,
    "labels-check": LabelCheck,
    "camera-list": CameraList,
    "camera-probe": ProbeResult,
    "control": ControlResult,
    "control-list": ControlList,
    "control-remove": ControlRemoval,
    # No command prints it: what the laboratory's file holds.
    "control-file": ControlFile,
}


if __name__ == "__main__":
    write_schemas(PRINTED, Path(sys.argv[1] if len(sys.argv) > 1 else "docs/schema"))
