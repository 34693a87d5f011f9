"""JSON schemas of what the workstation prints: ``python -m edgeleuk_convert.commands.schemas [FOLDER]``.

Those of the device are written by `edgeleuk.cli.schemas`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from edgeleuk.results.schemas import write_schemas
from edgeleuk_convert.commands.results import (
    BundleComparison,
    CalibrationResult,
    ContractResult,
    ConversionResult,
    CrossValidationResult,
    EvaluationResult,
    TrainingResult,
    ValidationResult,
)
from edgeleuk_convert.commands.teach import TeachResult

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeleuk.results.structs import Printed

# Name of the schema -> what the command prints with --json.
PRINTED: Mapping[str, type[Printed]] = {
    "convert": ConversionResult,
    "evaluate": EvaluationResult,
    "train": TrainingResult,
    "cross-validate": CrossValidationResult,
    "calibrate": CalibrationResult,
    "validate": ValidationResult,
    "compare": BundleComparison,
    "contract": ContractResult,
    "teach": TeachResult,
}


if __name__ == "__main__":
    write_schemas(PRINTED, Path(sys.argv[1] if len(sys.argv) > 1 else "docs/schema"))
