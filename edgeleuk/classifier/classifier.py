"""Crops become predictions: a bundle's network is run; `edgeleuk.classifier.decision` judges its answer."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edgeleuk.bundle.acceptance import refuse_rejected
from edgeleuk.bundle.features import decode_features
from edgeleuk.bundle.forest import decode_forest
from edgeleuk.bundle.heads import decode_head
from edgeleuk.bundle.manifest import BLAST, FEATURES, FOREST, KIND, MODEL_FILES, SUPPORT
from edgeleuk.bundle.support_vectors import decode_support
from edgeleuk.classifier.appearance import appearance_of
from edgeleuk.classifier.cell_features import numbers_of
from edgeleuk.classifier.decision import (
    Rules,
    answered_by,
    area_um2,
    consensus,
    decide,
    evidence_of,
    feature_distances,
    probabilities_of,
)
from edgeleuk.errors import BundleError
from edgeleuk.inference import Answer, open_runtime, require_runtime
from edgeleuk.inference.pooled import PooledRuntime
from edgeleuk.inference.preprocessing import cell_and_tensor
from edgeleuk.io.closing import Closing
from edgeleuk.vision.crops import crop_cell, crop_with_surroundings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

    from edgeleuk.bundle.contents import Bundle
    from edgeleuk.bundle.heads import KernelHead
    from edgeleuk.bundle.manifest import Abstain, InputContract, Manifest
    from edgeleuk.classifier.appearance import CellAppearance
    from edgeleuk.classifier.decision import CellEvidence
    from edgeleuk.frames import Cell, CellCrop, RgbImage
    from edgeleuk.inference import ModelRuntime
    from edgeleuk.inference.preprocessing import ScaledCell
    from edgeleuk.results import Prediction


class Classifier(Closing):
    """A network with the contracts it was packed with.

    Parameters
    ----------
    runtime : ModelRuntime
    manifest : Manifest
    rules : Rules

    Raises
    ------
    BundleError
        The network's answer has another width than the output contract's, or its features are not those of
        the statistics.
    """

    def __init__(
        self,
        runtime: ModelRuntime,
        manifest: Manifest,
        rules: Rules,
    ) -> None:
        self.runtime = runtime
        # One is enough: the network takes longer than all the rest.
        self._aside = ThreadPoolExecutor(1, thread_name_prefix="beside-the-network")
        self.manifest = manifest
        self.rules = rules
        # Asked of no cell, so that a network of another bundle is refused when it is opened.
        answer = runtime.predict(np.empty((0, *manifest.input.shape), np.uint8))
        if rules.blast_head is not None:
            answered_by(rules.blast_head, answer, [])
        elif (width := answer.outputs.shape[1]) != rules.output.width:
            raise BundleError(
                "the network's answer does not fit the manifest",
                got=f"{width} numbers",
                allowed=f"{rules.output.width} as {rules.output.kind}",
                cure="convert the network again",
            )
        if rules.statistics is not None:
            feature_distances(answer, rules.statistics)
        if rules.kind_head is not None:
            answered_by(rules.kind_head, answer, [])

    def classify(self, crops: Sequence[CellCrop]) -> list[Prediction]:
        """Judge each crop.

        Parameters
        ----------
        crops : sequence of CellCrop
            Of any scale; each is brought to the network's.

        Returns
        -------
        list of Prediction, in the order of `crops`
        """
        return [decide(evidence, self.rules) for evidence in self.look_at(crops).evidence] if crops else []

    def look_at(self, crops: Sequence[CellCrop]) -> SeenCells:
        """Return what each crop is judged by; `crops` holds at least one."""
        cells, answer = self._answered(crops)
        numbers = _numbers(cells)
        evidence = evidence_of(
            answer, [cell.area_um2 for cell in cells], [cell.look for cell in cells], self.rules, numbers
        )
        parts = [answer.features, None if numbers is None else np.array(numbers)]
        given = [np.asarray(part, np.float64) for part in parts if part is not None]
        return SeenCells(evidence, np.hstack(given) if given else np.empty((len(crops), 0)))

    def crop(self, pixels: RgbImage, cell: Cell, px_per_um: float) -> CellCrop:
        """Cut a cell out of its field as the network wants to see it: alone, or with what is around it."""
        contract = self.manifest.input
        if contract.surroundings == "black":
            return crop_cell(pixels, cell, px_per_um)
        height, width = contract.picture_px or (0, 0)
        size_um = height / contract.crop_px_per_um, width / contract.crop_px_per_um
        return crop_with_surroundings(pixels, cell, px_per_um, size_um)

    def consensus(self, views: Sequence[Prediction]) -> Prediction:
        """Judge one cell from several views of it, the best focused first; see `consensus`."""
        return consensus(views, self.rules)

    def probabilities(self, crops: Sequence[CellCrop]) -> npt.NDArray[np.float64]:
        """Return the (n,) calibrated probabilities of the positive class."""
        if not crops:
            return np.empty(0)
        cells, answer = self._answered(crops)
        return probabilities_of(answer, self.rules, _numbers(cells))

    def features(self, crops: Sequence[CellCrop]) -> npt.NDArray[np.float64]:
        """Return (n, D) what heads judge of each crop: the network's features, then the hand-crafted ones."""
        rows = []
        network, judge = _parts(self.runtime)
        for crop in crops:
            cell, tensor = self._ready(crop)
            found = judge(network.predict(tensor), tensor).features
            of_network = np.empty(0) if found is None else found[0]
            rows.append(np.concatenate([of_network, numbers_of(cell, self.manifest.input.px_per_um)]))
        return np.asarray(rows, np.float64)

    def close(self) -> None:
        """Free the network."""
        self._aside.shutdown()
        self.runtime.close()

    def _answered(self, crops: Sequence[CellCrop]) -> tuple[list[_Measured], Answer]:
        """Run the network on each crop; all else is done on a thread of its own while it runs."""
        network, judge = _parts(self.runtime)
        cells, answers = [], []
        ready = self._aside.submit(self._ready, crops[0])
        for index, crop in enumerate(crops):
            cell, tensor = ready.result()
            # The next tensor comes first, so that the network never waits for what only the judgement needs.
            if index + 1 < len(crops):
                ready = self._aside.submit(self._ready, crops[index + 1])
            cells.append(self._aside.submit(self._measured, crop, cell))
            answers.append(self._aside.submit(judge, network.predict(tensor), tensor))
        return [cell.result() for cell in cells], Answer.stacked([answer.result() for answer in answers])

    def _ready(self, crop: CellCrop) -> tuple[ScaledCell, npt.NDArray[np.uint8]]:
        """Return a cell at the network's scale, and what the network wants of it, (1, H, W, C)."""
        cell, tensor = cell_and_tensor(crop, self.manifest.input)
        return cell, tensor[None]

    def _measured(self, crop: CellCrop, cell: ScaledCell) -> _Measured:
        """Return what gate and forest want of a crop."""
        return _Measured(
            area_um2(crop),
            appearance_of(cell) if self.rules.gate else None,
            numbers_of(cell, self.manifest.input.px_per_um) if self.rules.wants_numbers else None,
        )


class SeenCells(NamedTuple):
    """What n cells are judged by.

    Attributes
    ----------
    evidence : list of CellEvidence
    features : (n, D) float64
        As heads judge them: of the trunk, then the hand-crafted ones where the bundle asks for them.
    """

    evidence: list[CellEvidence]
    features: npt.NDArray[np.float64]


class _Measured(NamedTuple):
    """A crop as the gate and the forest see it."""

    area_um2: float
    look: CellAppearance | None
    numbers: npt.NDArray[np.float64] | None


def _parts(
    runtime: ModelRuntime,
) -> tuple[ModelRuntime, Callable[[Answer, npt.NDArray[np.uint8]], Answer]]:
    """Return the network itself, and what is then made of its answer to some tensors."""
    if isinstance(runtime, PooledRuntime):
        return runtime.network, runtime.judge
    return runtime, lambda answer, _: answer


def _numbers(cells: Sequence[_Measured]) -> list[npt.NDArray[np.float64]] | None:
    numbers = [cell.numbers for cell in cells if cell.numbers is not None]
    return numbers or None


def open_classifier(
    bundle: Bundle,
    *,
    runtime: str = "litert",
    precision: str = "int8",
    threads: int = 1,
    abstain: Abstain = "band",
) -> Classifier:
    """Load one of a bundle's networks for use.

    Raises
    ------
    GateFailedError
        The bundle was rejected when it was made.
    UsageError, BundleError, MissingDependencyError
        As in `open_runtime`, `Bundle.model_name` and `Rules`.
    """
    refuse_rejected(bundle)
    require_runtime(runtime)
    name, manifest = bundle.model_name(runtime, precision), bundle.manifest
    rules = bundle_rules(bundle, abstain)
    network = open_network(bundle.members, name, manifest.input, runtime=runtime, threads=threads)
    try:
        return Classifier(network, manifest, rules)
    except BaseException:
        network.close()
        raise


def bundle_rules(bundle: Bundle, abstain: Abstain = "band") -> Rules:
    """Return what a bundle judges cells by."""
    manifest = bundle.manifest
    features = manifest.gate is not None and manifest.gate.features is not None
    statistics = decode_features(bundle.members[FEATURES]) if features else None
    forest = decode_forest(bundle.members[FOREST]) if manifest.output.forest_weight else None
    return Rules(
        manifest.output,
        manifest.envelope,
        manifest.gate,
        statistics,
        abstain,
        forest,
        manifest.kind,
        _head(bundle, KIND),
        _head(bundle, BLAST),
    )


def _head(bundle: Bundle, name: str) -> KernelHead | None:
    if name not in bundle.members:
        return None
    return decode_head(bundle.members[name], f"{name} in {bundle.path.name}")


class OpenNetworks(dict[str, "ModelRuntime"], Closing):
    """Networks by their keys (``reference``, ``tflite_int8``, ...); closed together."""

    def close(self) -> None:
        """Free them all."""
        for network in self.values():
            network.close()


def open_networks(members: Mapping[str, bytes], contract: InputContract, *, threads: int = 1) -> OpenNetworks:
    """Load every network among a bundle's members, by its key (``reference``, ``tflite_int8``, ...)."""
    opened = OpenNetworks()
    try:
        for name, model in MODEL_FILES.items():
            if name in members:
                opened[model.key] = open_network(members, name, contract, threads=threads)
    except BaseException:
        opened.close()
        raise
    return opened


def open_network(
    members: Mapping[str, bytes],
    name: str,
    contract: InputContract,
    *,
    runtime: str | None = None,
    threads: int = 1,
) -> ModelRuntime:
    """Load one network of a bundle's members, with what pools its map, where it ends in one.

    Parameters
    ----------
    members : mapping of str to bytes
    name : str
        Of the network's member.
    contract : InputContract
    runtime : str, optional
        By default the one that the network is made for.
    threads : int

    Raises
    ------
    BundleError, MissingDependencyError, UsageError
        As in `open_runtime` and `PooledRuntime`.
    """
    network = open_runtime(runtime or MODEL_FILES[name].runtime, members[name], contract, threads=threads)
    try:
        return with_pooling(network, members, contract)
    except BaseException:
        network.close()
        raise


def with_pooling(
    network: ModelRuntime, members: Mapping[str, bytes], contract: InputContract
) -> ModelRuntime:
    """Put behind a network what pools its map, where it ends in one."""
    if SUPPORT in members:
        return PooledRuntime(network, contract, decode_support(members[SUPPORT]))
    # A trunk that gives no features by itself ends in a map, and a head judges what is pooled of it.
    if BLAST in members and network.predict(np.empty((0, *contract.shape), np.uint8)).features is None:
        return PooledRuntime(network, contract, features=decode_head(members[BLAST], BLAST).features)
    return network
