"""What a bundle's trunk and the hand-crafted features say of labelled cells, measured on this device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from edgeleuk.bundle.contracts import Answer
from edgeleuk.classifier.appearance import appearance_of
from edgeleuk.classifier.cell_features import numbers_of
from edgeleuk.classifier.classifier import open_network
from edgeleuk.classifier.decision import area_um2
from edgeleuk.inference import require_runtime
from edgeleuk.inference.preprocessing import cell_and_tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from edgeleuk.bundle.contents import Bundle
    from edgeleuk.classifier.appearance import CellAppearance
    from edgeleuk.frames import CellCrop
    from edgeleuk.io.console import Progress

    Floats = npt.NDArray[np.float64]


class Labelled(Protocol):
    """A cell with its label; see `edgeleuk.labels`."""

    @property
    def crop(self) -> CellCrop:
        """The cell as it is judged."""
        ...

    @property
    def label(self) -> str:
        """What it is called: one of `edgeleuk.results.kinds.LABELS`."""
        ...

    @property
    def slide(self) -> str:
        """Which slide it lies on."""
        ...

    @property
    def subject(self) -> str | None:
        """Whose it is, where that is known."""
        ...


class OneCell(NamedTuple):
    """A cell as heads, gate and envelope see it."""

    area_um2: float
    look: CellAppearance
    numbers: Floats
    answer: Answer


@dataclass(frozen=True, slots=True, eq=False)
class MeasuredCells:
    """Labelled cells, measured.

    Attributes
    ----------
    label, slide, subject : (n,) str
        A subject that nobody knows is the slide.
    areas_um2 : (n,) float64
    looks : tuple of CellAppearance
    numbers : (n, 14) float64
    answer : Answer
        Of the network, for all cells.
    """

    label: npt.NDArray[np.str_]
    slide: npt.NDArray[np.str_]
    subject: npt.NDArray[np.str_]
    areas_um2: Floats
    looks: tuple[CellAppearance, ...]
    numbers: Floats
    answer: Answer

    @property
    def features(self) -> Floats:
        """(n, F) of the trunk; F is 0 where the network gives none."""
        found = self.answer.features
        return np.empty((len(self.label), 0)) if found is None else found.astype(np.float64)

    @property
    def cells(self) -> Floats:
        """(n, D): what heads judge."""
        return np.hstack([self.features, self.numbers])

    def of(self, rows: npt.NDArray[np.bool_]) -> MeasuredCells:
        """Return some of them."""
        features = self.answer.features
        return MeasuredCells(
            self.label[rows],
            self.slide[rows],
            self.subject[rows],
            self.areas_um2[rows],
            tuple(look for look, kept in zip(self.looks, rows, strict=True) if kept),
            self.numbers[rows],
            Answer(self.answer.outputs[rows], None if features is None else features[rows]),
        )


def measure(
    cells: Sequence[Labelled],
    bundle: Bundle,
    *,
    runtime: str,
    threads: int = 1,
    progress: Progress | None = None,
) -> MeasuredCells:
    """Measure labelled cells by a bundle's int8 network.

    Parameters
    ----------
    cells : sequence of Labelled
        At least one.
    bundle : Bundle
    runtime : str
    threads : int
    progress : callable, optional
        Told (cells done, cells in all).

    Raises
    ------
    UsageError, MissingDependencyError, BundleError
        As `open_network`.
    """
    contract = bundle.manifest.input
    found = []
    require_runtime(runtime)
    name = bundle.model_name(runtime, "int8")
    with open_network(bundle.members, name, contract, runtime=runtime, threads=threads) as network:
        for done, cell in enumerate(cells, start=1):
            crop = cell.crop
            scaled, tensor = cell_and_tensor(crop, contract)
            found.append(
                OneCell(
                    area_um2(crop),
                    appearance_of(scaled),
                    numbers_of(scaled, contract.px_per_um),
                    network.predict(tensor[None]),
                )
            )
            if progress is not None:
                progress(done, len(cells))
    return MeasuredCells(
        np.array([cell.label for cell in cells]),
        np.array([cell.slide for cell in cells]),
        np.array([cell.subject or cell.slide for cell in cells]),
        np.array([one.area_um2 for one in found]),
        tuple(one.look for one in found),
        np.array([one.numbers for one in found]),
        Answer.stacked([one.answer for one in found]),
    )
