"""What of a bundle makes a probability of the network's answer: here, and as tables for C."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeleuk.bundle.features import decode_features
from edgeleuk.bundle.forest import decode_forest
from edgeleuk.bundle.heads import HAND_CRAFTED, decode_head
from edgeleuk.bundle.manifest import BLAST, FEATURES, FOREST, KIND, SUPPORT
from edgeleuk.bundle.support_vectors import decode_support
from edgeleuk.deploy.deployment import Beside, Constant
from edgeleuk.deploy.tables import forest_part, head_part, map_part, statistics_part
from edgeleuk.errors import BundleError
from edgeleuk.inference.log_odds import LEAST_PROBABILITY, log_odds
from edgeleuk.inference.pooled import PooledRuntime, map_geometry
from edgeleuk.inference.runtime import output_roles

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from edgeleuk.bundle.contents import Bundle
    from edgeleuk.bundle.features import FeatureStatistics
    from edgeleuk.bundle.forest import Forest
    from edgeleuk.bundle.heads import KernelHead
    from edgeleuk.bundle.manifest import Manifest
    from edgeleuk.bundle.support_vectors import SupportVectors
    from edgeleuk.inference import ModelRuntime
    from edgeleuk.inference.pooled import MapGeometry

# As the C counts them: see EDGELEUK_ANSWER in edgeleuk_judge.h.
ANSWERS = ("logit", "probability", "logits", "softmax")
# Log odds, probability and distance of a cell.
RESULTS = 3


@dataclass(frozen=True, slots=True)
class Judge:
    """What makes log odds of a network's answer.

    Attributes
    ----------
    manifest : Manifest
    support : SupportVectors or None
    blast : KernelHead or None
        Takes the place of the support vectors.
    forest : Forest or None
        Joins either.
    statistics : FeatureStatistics or None
        Of the training cells' features, to tell foreign cells by.
    kind_bytes : int
        Of the head for kinds, which is not carried; 0 where there is none.
    """

    manifest: Manifest
    support: SupportVectors | None
    blast: KernelHead | None
    forest: Forest | None
    statistics: FeatureStatistics | None
    kind_bytes: int

    @classmethod
    def of(cls, bundle: Bundle) -> Judge:
        """Take it out of a bundle.

        Raises
        ------
        BundleError
            A member is damaged, or the head for blasts has several answers.
        """
        members, manifest = bundle.members, bundle.manifest
        blast = decode_head(members[BLAST], f"{BLAST} in {bundle.path.name}") if BLAST in members else None
        if blast is not None and blast.width != 1:
            raise BundleError(
                f"{BLAST} in {bundle.path.name} has several answers",
                got=blast.width,
                allowed=1,
                cure="teach it again",
            )
        gated = manifest.gate is not None and manifest.gate.features is not None
        return cls(
            manifest,
            decode_support(members[SUPPORT]) if SUPPORT in members else None,
            blast,
            decode_forest(members[FOREST]) if manifest.output.forest_weight else None,
            decode_features(members[FEATURES]) if gated else None,
            len(members.get(KIND, b"")),
        )

    @property
    def head(self) -> SupportVectors | KernelHead | None:
        """What judges features."""
        return self.support if self.blast is None else self.blast

    @property
    def numbers(self) -> int:
        """How many hand-crafted features of a cell it needs."""
        return HAND_CRAFTED if self.blast is not None or self.forest is not None else 0

    def geometry(self, widths: Sequence[int]) -> MapGeometry | None:
        """Return how the network's map lies, where it ends in one; `widths` are those of its outputs.

        Raises
        ------
        BundleError
            The map does not fit the head.
        """
        if self.support is not None:
            return map_geometry(min(widths), self.support.mean.size, self.manifest.input)
        # Whoever gives features itself has a second output for them.
        if self.blast is not None and len(widths) == 1:
            return map_geometry(widths[0], self.blast.features, self.manifest.input)
        return None

    def beside(self, widths: Sequence[int]) -> Beside:
        """Return tables and constants of all of it.

        Raises
        ------
        BundleError
            The network's outputs do not fit the rest.
        """
        geometry, output = self.geometry(widths), self.manifest.output
        answer, other = output_roles(widths)
        features = self._features(widths, geometry)
        directions = 0 if self.head is None else self.head.vectors.shape[1]
        shares = 0 if geometry is None else geometry.places * len(geometry.masks)
        cell_bytes = 4 * (shares + features + directions + RESULTS)
        gate = self.manifest.gate
        limit = 0.0 if gate is None or gate.features is None else gate.features.limit
        parts = (
            map_part(geometry),
            head_part(self.head),
            forest_part(self.forest),
            statistics_part(self.statistics, limit),
        )
        constants = (
            Constant("ANSWER", ANSWERS.index(output.kind), "its kind: see edgeleuk_judge.h"),
            Constant("CLASSES", output.width, "numbers of an answer that is no map"),
            Constant("LEAST_PROBABILITY", LEAST_PROBABILITY, "of an answer"),
            Constant("ANSWER_OUTPUT", answer, "which output it is"),
            Constant("FEATURES_OUTPUT", answer if other is None else other, "which has the features"),
            Constant("FEATURES", features, "of the network that are judged"),
            Constant("NUMBERS", self.numbers, "hand-crafted features that the firmware measures"),
            Constant("CELL_BYTES", cell_bytes, "of RAM: edgeleuk_cell"),
        )
        return Beside(
            tuple(table for part in parts for table in part.tables),
            (*constants, *(constant for part in parts for constant in part.constants)),
            cell_bytes,
            (("head for kinds", self.kind_bytes),) if self.kind_bytes else (),
        )

    def drawn_numbers(self, count: int) -> npt.NDArray[np.float32]:
        """Draw hand-crafted features for golden cells, always the same: (n, 14), or (n, 0) if not needed."""
        shares = np.random.default_rng(0).random((count, self.numbers))
        found = np.zeros((count, self.numbers), np.float32)
        for number in range(self.numbers):
            if self.blast is not None:
                at = self.blast.features + number
                # Within two deviations.
                found[:, number] = (
                    self.blast.mean[at] + (4 * shares[:, number] - 2) * self.blast.deviation[at]
                )
            elif self.forest is not None:
                # Among the limits that its questions ask for, so that walks part.
                limits = np.append(self.forest.limit[self.forest.feature == number], 0)
                found[:, number] = limits[(shares[:, number] * limits.size).astype(int)]
        return found

    def judged(
        self,
        network: ModelRuntime,
        geometry: MapGeometry | None,
        tensors: npt.NDArray[np.uint8],
        numbers: npt.NDArray[np.float32],
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Judge tensors here.

        Parameters
        ----------
        network : ModelRuntime
        geometry : MapGeometry or None
            Of its map.
        tensors : (n, H, W, C) uint8
        numbers : (n, 14) float32
            Hand-crafted features; (n, 0) where none are needed.

        Returns
        -------
        log_odds : (n,) float64
            Calibrated.
        distances : (n,) float64
            From the training cells; 0 where the bundle has no statistics.
        """
        if geometry is not None:
            features = None if self.blast is None else self.blast.features
            network = PooledRuntime(network, self.manifest.input, self.support, features=features)
        answer, output = network.predict(tensors), self.manifest.output
        outputs, distances = answer.outputs, np.zeros(len(tensors))
        seen = np.empty((len(tensors), 0), np.float32) if answer.features is None else answer.features
        if self.blast is not None:
            outputs = self.blast.answer(np.hstack([seen, numbers])).scores.astype(np.float32)
        joined = log_odds(outputs, output) / output.temperature + output.bias
        if self.forest is not None:
            joined = joined + output.forest_weight * self.forest.log_odds(numbers)
        if self.statistics is not None:
            distances = self.statistics.distance(seen)
        return joined, distances

    def _features(self, widths: Sequence[int], geometry: MapGeometry | None) -> int:
        """Return how many features of the network are judged."""
        _, other = output_roles(widths)
        wanted = {self.statistics.mean.size} if self.statistics is not None else set()
        if self.blast is not None:
            wanted.add(self.blast.features)
        if geometry is not None:
            found = 2 * geometry.channels * len(geometry.masks)
        else:
            found = widths[other] if wanted and other is not None else 0
        if not wanted <= {found}:
            raise BundleError(
                "the network does not give the features that the bundle judges",
                got=f"{found} features",
                allowed=", ".join(map(str, sorted(wanted))),
                cure="convert the network again",
            )
        return found
