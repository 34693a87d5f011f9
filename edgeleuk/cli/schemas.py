"""JSON schemas of what commands print: ``python -m edgeleuk.cli.schemas [FOLDER]`` writes them.

They are made from the structs and dataclasses that the commands return, and stand in ``docs/schema``,
those of the workstation beside them: see `edgeleuk_convert.commands.schemas`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from edgeleuk.batch.archive import ArchiveResult
from edgeleuk.batch.images import Classification, Segmentation
from edgeleuk.bench.results import BenchResult
from edgeleuk.capture.discovery import CameraList
from edgeleuk.commands.bundle import BundleDescription, BundleVerification
from edgeleuk.commands.config import ExplainedSettings
from edgeleuk.commands.exchange import CellsExported
from edgeleuk.commands.flat_field import StoredBlank
from edgeleuk.commands.keep import KeptSessions
from edgeleuk.commands.labels import LabelsImported, LabelsWritten
from edgeleuk.commands.probe import ProbeResult
from edgeleuk.commands.publish import Publication
from edgeleuk.commands.replay import Replay, ReplayedSession
from edgeleuk.commands.signing import SignedBundle, TrustedKeys
from edgeleuk.commands.updates import Pulled
from edgeleuk.control.store import ControlFile
from edgeleuk.control.verdicts import ControlList, ControlRemoval, ControlResult
from edgeleuk.doctor.findings import Examination
from edgeleuk.fleet.messages import EventMessage, HeartbeatMessage, QualityMessage, SummaryMessage
from edgeleuk.labels.checking import LabelCheck
from edgeleuk.labels.listing import LabelList
from edgeleuk.reports.comparison import SessionComparison
from edgeleuk.results.exported import ExportedCell
from edgeleuk.results.queued import Queue
from edgeleuk.results.schemas import write_schemas
from edgeleuk.results.structs import RunSummary, SlideWritten
from edgeleuk.results.trends import TrendResult
from edgeleuk.review.state import ReviewState
from edgeleuk.service.status import ServiceStatus
from edgeleuk.session.report import SessionReport
from edgeleuk.session.verify import SessionVerification
from edgeleuk.stage.mapping import PrintedMapping
from edgeleuk_firmware_bridge.commands.results import (
    BoardCheck,
    ExportedNetwork,
    StageInfo,
    StagePosition,
    UnlockedStage,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

# Name of the schema -> what the command prints with --json.
PRINTED: Mapping[str, type] = {
    "run": RunSummary,
    "classify": Classification,
    "classify-folder": ArchiveResult,
    "segment": Segmentation,
    "inspect": BundleDescription,
    "verify-bundle": BundleVerification,
    "verify-session": SessionVerification,
    "report": SessionReport,
    "publish": Publication,
    # What a broker is told.
    "mqtt-summary": SummaryMessage,
    "mqtt-events": EventMessage,
    "mqtt-quality": QualityMessage,
    "mqtt-heartbeat": HeartbeatMessage,
    "report-compare": SessionComparison,
    "trend": TrendResult,
    "replay": Replay,
    "replay-session": ReplayedSession,
    "review": ReviewState,
    "session-keep": KeptSessions,
    "labels-list": LabelList,
    "labels-written": LabelsWritten,
    "labels-import": LabelsImported,
    "labels-check": LabelCheck,
    "labels-next": Queue,
    "camera-list": CameraList,
    "camera-probe": ProbeResult,
    "control": ControlResult,
    "control-list": ControlList,
    "control-remove": ControlRemoval,
    # No command prints it: what the laboratory's file holds.
    "control-file": ControlFile,
    "camera-flat-field": StoredBlank,
    "bench": BenchResult,
    "doctor": Examination,
    "service-status": ServiceStatus,
    "export": ExportedCell,
    "export-folder": CellsExported,
    "bundle-sign": SignedBundle,
    "bundle-trust": TrustedKeys,
    "bundle-pull": Pulled,
    "bundle-rollback": Pulled,
    "config-show": ExplainedSettings,
    "stage-info": StageInfo,
    "stage-move": StagePosition,
    "stage-home": StagePosition,
    "stage-stop": StagePosition,
    "stage-unlock": UnlockedStage,
    "stage-map": PrintedMapping,
    "slide": SlideWritten,
    "mcu-check": BoardCheck,
    "mcu-export": ExportedNetwork,
}


if __name__ == "__main__":
    write_schemas(PRINTED, Path(sys.argv[1] if len(sys.argv) > 1 else "docs/schema"))
