"""A bundle in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeleuk.bundle.manifest import MODEL_FILES, Manifest
from edgeleuk.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle whose members are what its manifest says.

    Attributes
    ----------
    path : Path
    sha256 : str
        Of the whole file.
    manifest : Manifest
    members : mapping of str to bytes
        All members but the manifest.
    """

    path: Path
    sha256: str
    manifest: Manifest
    members: Mapping[str, bytes]

    def model_name(self, runtime: str, precision: str) -> str:
        """Return the member that `runtime` runs in `precision`.

        Raises
        ------
        UsageError
            The bundle carries no such network.
        """
        names = self.manifest.model_names
        for name in names:
            model = MODEL_FILES[name]
            if runtime in model.runtimes and model.precision == precision:
                return name
        raise UsageError(
            f"{self.path.name} carries no {precision} network for {runtime}",
            allowed=", ".join(
                dict.fromkeys(
                    f"{MODEL_FILES[name].precision} for {each}"
                    for name in names
                    for each in MODEL_FILES[name].runtimes
                )
            ),
            cure="convert the network again with --tensorrt" if runtime == "tensorrt" else None,
        )
