"""A classifier, a bundle and a session in Python."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np

from edgeleuk.api.bundles import bundle_and_settings
from edgeleuk.api.display import as_table
from edgeleuk.api.inputs import checked_array
from edgeleuk.bundle.manifest import CARD
from edgeleuk.bundle.reading import read_bundle
from edgeleuk.bundle.validation import read_validation
from edgeleuk.classifier.self_test import open_tested_classifier
from edgeleuk.errors import UsageError
from edgeleuk.frames import CellCrop
from edgeleuk.io.closing import Closing
from edgeleuk.session.reader import read_session

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeleuk.bundle.contents import Bundle
    from edgeleuk.bundle.manifest import InputContract, OutputContract
    from edgeleuk.classifier.classifier import Classifier
    from edgeleuk.frames import RgbImage
    from edgeleuk.io.settings import RuntimeChoice
    from edgeleuk.results import Prediction
    from edgeleuk.session.reader import SessionReader


class CropClassifier(Closing):
    """A bundle's network for cells that you cut out yourself; made by `open_classifier`.

    Attributes
    ----------
    bundle : OpenBundle

    Examples
    --------
    >>> import numpy as np
    >>> import edgeleuk
    >>> with edgeleuk.open_classifier("default", runtime="litert") as classifier:
    ...     len(classifier([]))
    0
    """

    def __init__(self, bundle: OpenBundle, classifier: Classifier) -> None:
        self.bundle = bundle
        self._classifier = classifier

    def __call__(
        self, crops: Sequence[RgbImage | CellCrop], *, px_per_um: float | None = None
    ) -> list[Prediction]:
        """Judge each crop.

        Parameters
        ----------
        crops : sequence of (H, W, 3) uint8 RGB arrays, or of CellCrop
            One cell each, what is around it pure black.
        px_per_um : float, optional
            Scale of the arrays; by default that of the bundle's training pictures.

        Returns
        -------
        list of Prediction, in the order of `crops`

        Raises
        ------
        UsageError
            A crop has another shape or dtype, or the scale is not above 0.
        """
        if isinstance(crops, (np.ndarray, CellCrop)):
            raise UsageError("the crops have to be a list", got="one crop", cure="pass [crop]")
        scale = self._classifier.manifest.input.crop_px_per_um if px_per_um is None else px_per_um
        if not scale > 0:
            raise UsageError("px_per_um is out of range", got=scale, allowed="above 0")
        return self._classifier.classify(
            [
                crop
                if isinstance(crop, CellCrop)
                else CellCrop.on_black(checked_array(crop), scale, whole=True)
                for crop in crops
            ]
        )

    def close(self) -> None:
        """Free the network."""
        self._classifier.close()


class OpenBundle:
    """What stands in a bundle; made by `open_bundle`.

    Attributes
    ----------
    name : str
    path : Path
    sha256 : str
        Of the whole file.
    contract : InputContract
        How a cell becomes the network's input.
    output : OutputContract
        What the network's answer means.

    Examples
    --------
    >>> import edgeleuk
    >>> edgeleuk.open_bundle("default").output.positive_label
    'blast'
    """

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self.name: str = bundle.manifest.name
        self.path: Path = bundle.path
        self.sha256: str = bundle.sha256
        self.contract: InputContract = bundle.manifest.input
        self.output: OutputContract = bundle.manifest.output

    @property
    def card(self) -> str:
        """The model card, as Markdown."""
        return self._bundle.members[CARD].decode()

    @property
    def validation(self) -> dict[str, Any]:
        """How the networks did on cells that were held out."""
        facts: dict[str, Any] = msgspec.to_builtins(read_validation(self._bundle))
        return facts

    @property
    def networks(self) -> tuple[str, ...]:
        """Names of the networks that it carries."""
        return self._bundle.manifest.model_names

    def __repr__(self) -> str:
        return f"OpenBundle({self.name!r}, sha256={self.sha256[:16]!r})"


class Session(Closing):
    """A recorded session, for reading only; made by `open_session`.

    Attributes
    ----------
    path : Path
    settings : dict
        What the run was started with.
    summary : dict or None
        As ``edgeleuk run --json`` printed it; None when the run was cut off.

    Examples
    --------
    >>> import tempfile
    >>> import edgeleuk
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = f"{folder}/night.db"
    ...     camera = "virtual://?seed=1&frames=1"
    ...     frames = list(edgeleuk.watch(camera, session=file, runtime="litert"))
    ...     with edgeleuk.open_session(file) as session:
    ...         len(session.frames) == len(frames)
    True
    """

    def __init__(self, reader: SessionReader) -> None:
        self._reader = reader
        self.path = reader.path
        self.settings = reader.settings
        self.summary = reader.summary

    @property
    def cells(self) -> list[dict[str, Any]]:
        """One row for each cell, without its pictures."""
        return list(self._reader.rows("cells"))

    @property
    def frames(self) -> list[dict[str, Any]]:
        """One row for each frame."""
        return list(self._reader.rows("frames"))

    @property
    def events(self) -> list[dict[str, Any]]:
        """What happened besides, in order."""
        return list(self._reader.rows("events"))

    def to_pandas(self, table: Literal["cells", "frames", "events"] = "cells") -> Any:
        """Return a table as a DataFrame.

        Raises
        ------
        UsageError
            There is no such table.
        MissingDependencyError
            pandas is not installed.
        """
        if table not in ("cells", "frames", "events"):
            raise UsageError("there is no such table", got=table, allowed="cells, frames, events")
        return as_table(self._reader.rows(table), self._reader.columns(table))

    def close(self) -> None:
        """Close the file."""
        self._reader.close()


def open_classifier(
    bundle: str | Path = "default",
    *,
    runtime: RuntimeChoice | None = None,
    precision: Literal["int8", "float32"] | None = None,
    threads: int | None = None,
    abstain: Literal["band", "conformal", "off"] | None = None,
) -> CropClassifier:
    """Open a bundle's network for cells that you cut out yourself; use it in a ``with`` block.

    Raises
    ------
    BundleError, CheckFailedError, MissingDependencyError, UsageError
        The bundle is damaged or fails its self-test, or a runtime or a network is missing.

    Examples
    --------
    >>> import numpy as np
    >>> import edgeleuk
    >>> crop = np.zeros((64, 64, 3), np.uint8)
    >>> crop[12:52, 12:52] = 120, 60, 150
    >>> with edgeleuk.open_classifier("default", runtime="litert") as classifier:
    ...     classifier([crop])[0].decision.value
    'uncertain'
    """
    opened, settings = bundle_and_settings(
        bundle, {"runtime": runtime, "precision": precision, "threads": threads, "abstain": abstain}
    )
    classifier = open_tested_classifier(
        opened,
        runtime=settings.runtime,
        precision=settings.precision,
        threads=settings.threads,
        abstain=settings.abstain,
    )
    return CropClassifier(OpenBundle(opened), classifier)


def open_bundle(bundle: str | Path = "default") -> OpenBundle:
    """Read a bundle, and check every hash in it.

    Raises
    ------
    UsageError, BundleError
        There is no such file, or it is damaged.

    Examples
    --------
    >>> import edgeleuk
    >>> edgeleuk.open_bundle("default").card.startswith("#")
    True
    """
    return OpenBundle(read_bundle(str(bundle)))


def open_session(path: str | Path) -> Session:
    """Open a session that ``edgeleuk run`` or `watch` recorded, finished or not; it is never changed.

    Raises
    ------
    UsageError, SessionError
        There is no such file, it is no session, or it is damaged.

    Examples
    --------
    >>> import edgeleuk
    >>> edgeleuk.open_session("nothing.db")
    Traceback (most recent call last):
    edgeleuk.errors.UsageError: there is no such session file: got nothing.db
    """
    return Session(read_session(Path(path)))
