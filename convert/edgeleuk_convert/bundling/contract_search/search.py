"""Try what networks are usually fed, judge each way by the labels, and propose a contract."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeleuk.bundle.manifest import OutputContract
from edgeleuk.errors import DataRefusedError, UsageError
from edgeleuk.inference.preprocessing import to_tensor
from edgeleuk.inference.quantization import look_up, real_table
from edgeleuk_calibration.probability import sigmoid
from edgeleuk_calibration.selection import select_balanced
from edgeleuk_convert.bundling.contract_search.candidates import (
    BGR,
    GREY,
    RGB,
    Candidate,
    first_candidates,
    otherwise_resized,
)
from edgeleuk_convert.bundling.contract_search.evidence import (
    Evidence,
    FirstNorms,
    Labelled,
    best_of,
    evidence,
    knows_the_cells,
    told_apart,
)
from edgeleuk_convert.bundling.foreign import kind_of_end
from edgeleuk_convert.dataset.cnmc import read_crop, require_both_classes
from edgeleuk_convert.quantization.bias_correction import begins_with_rescaling

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from edgeleuk.bundle.manifest import Framing, InputContract, OutputKind, Resize
    from edgeleuk.io.console import Progress
    from edgeleuk_convert.dataset.cells import LabelledCell

    Bytes = npt.NDArray[np.uint8]
    Floats = npt.NDArray[np.float64]

# Cells that every way is tried on, and those that the ways are judged on that are left.
FEW, MANY = 80, 320
# Ways that go on to the larger set.
KEPT = 8
BATCH = 16
# Of the tensors of all ways together.
MOST_BYTES = 600_000_000


@dataclass(frozen=True, slots=True)
class Runner:
    """A way that was tried beside the best one.

    Attributes
    ----------
    title : str
    auroc : float
    told_apart_by : str or None
        What shows that it is worse; None where nothing does.
    """

    title: str
    auroc: float
    told_apart_by: str | None


@dataclass(frozen=True, slots=True)
class FoundContract:
    """The contract that explains the labels best, and how sure that is.

    Attributes
    ----------
    input, output : InputContract, OutputContract
    title : str
        The way in words.
    auroc, low, high : float
        On the cells that it was chosen by, with its 95 % interval over groups: a little too good.
    cells, groups : int
    runners_up : tuple of Runner
        The best of the other ways; those that cannot be told from it come first.
    classes : tuple of str
        What each column of the network's answer was found to mean.
    rescales : bool
        The network brings bytes to its own range itself.
    """

    input: InputContract
    output: OutputContract
    title: str
    auroc: float
    low: float
    high: float
    cells: int
    groups: int
    runners_up: tuple[Runner, ...]
    classes: tuple[str, ...]
    rescales: bool

    @property
    def alike(self) -> tuple[Runner, ...]:
        """The ways that cannot be told from the proposed one."""
        return tuple(of for of in self.runners_up if of.told_apart_by is None)


def find_contract(
    model: Any,
    name: str,
    cells: Sequence[LabelledCell],
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> FoundContract:
    """Find the contract by which a network's answers fit the labels.

    Parameters
    ----------
    model : keras.Model
        From `load_network`; 1 or 3 channels.
    name : str
        Of its file, for errors.
    cells : sequence of LabelledCell
        Of both classes; at most `FEW` + `MANY` are looked at.
    seed : int
        Of their choice.
    progress : callable, optional
        Told (ways tried, ways to try).

    Raises
    ------
    DataRefusedError
        A class or its groups are missing, or no way explains the labels.
    UsageError
        The network's input or its end is none that can be tried.
    """
    require_both_classes(cells, "finding a contract")
    depth = model.input_shape[-1]
    if depth not in (1, 3):
        raise UsageError(
            f"what the {depth} channels of {name} hold cannot be found out",
            allowed="1 or 3 channels",
            cure="write it into a file and pass it as --contract FILE.toml",
        )
    trial = _Trial(model, name, cells, seed, progress)
    few, rest = trial.split
    rescales = begins_with_rescaling(model)
    ways = first_candidates(depth, rescales=rescales)
    trial.expect(len(ways) + KEPT + 4)
    first = trial.run(ways, few)
    kept = _survivors(first, trial.labelled(few))
    many = trial.run(kept, rest)
    labels = trial.labelled(rest)
    best = best_of(many, labels)
    others = [
        way
        for of in many
        if of is best or told_apart(best, of, labels) is None
        for way in otherwise_resized(of.candidate)
    ]
    trial.expect(len(ways) + len(kept) + len(others))
    many += trial.run(others, rest)
    best = best_of(many, labels)
    return trial.found(best, many, labels, rescales=rescales)


class _Trial:
    """One network, the cells that it is tried on, and the work of trying."""

    def __init__(
        self,
        model: Any,
        name: str,
        cells: Sequence[LabelledCell],
        seed: int,
        progress: Progress | None,
    ) -> None:
        self._name = name
        self._norms = FirstNorms(model)
        _, self._height, self._width, _ = model.input_shape
        kind = kind_of_end(model, name)
        if kind is None:
            raise UsageError(
                f"{name} ends in nothing that tells what its {model.output_shape[-1]} numbers are",
                allowed="a sigmoid, a softmax, or logits",
                cure="say what its numbers mean in a file and pass it as --contract FILE.toml",
            )
        self._kind: OutputKind = kind
        self._progress, self._done, self._total = progress, 0, 0
        of_a_set = max(40, MOST_BYTES // 6 // (3 * self._height * self._width))
        chosen = select_balanced(cells, min(FEW + MANY, of_a_set, len(cells)), seed=seed).images
        self._cells = chosen
        few = chosen[:: max(1, round(len(chosen) / FEW))]
        rest = [cell for cell in chosen if cell not in set(few)]
        enough = all(sum(cell.label == label for cell in rest) >= 20 for label in ("blast", "normal"))
        self.split = (tuple(few), tuple(rest if enough else chosen))
        self._made: dict[tuple[Framing, Resize], Bytes] = {}

    def expect(self, ways: int) -> None:
        """Tell how many ways there will be, at most."""
        self._total = ways

    def labelled(self, cells: Sequence[LabelledCell]) -> Labelled:
        """Return the truth of some cells."""
        return Labelled(
            np.array([cell.label == "blast" for cell in cells]),
            np.array([cell.kind or cell.label or "" for cell in cells]),
            np.array([cell.subject or "" for cell in cells]),
            np.array([cell.group or "" for cell in cells]),
        )

    def run(self, ways: Sequence[Candidate], cells: Sequence[LabelledCell]) -> list[Evidence]:
        """Feed the network in each way."""
        labels, found = self.labelled(cells), []
        self._make(ways)
        places = {cell: row for row, cell in enumerate(self._cells)}
        rows = [places[cell] for cell in cells]
        for way in ways:
            tensors = self._made[_framed_as(way)][rows]
            contract = self._contract(way)
            table = real_table(contract.scale, contract.offset)
            turned = tensors[..., ::-1] if way.channels == BGR else tensors
            outputs, distance = self._answers(turned, table)
            if np.isfinite(outputs).all():
                found.append(evidence(way, outputs, labels, distance))
            self._done += 1
            if self._progress is not None:
                self._progress(min(self._done, self._total), self._total)
        if ways and not found:
            raise DataRefusedError(
                f"{self._name} answers with numbers that are not finite, however it is fed"
            )
        return found

    def found(
        self, best: Evidence, tried: Sequence[Evidence], labels: Labelled, *, rescales: bool
    ) -> FoundContract:
        """Put together what was found, or refuse what explains nothing."""
        area, low, high, knows = knows_the_cells(best, labels)
        groups = len(np.unique(labels.group))
        if not knows:
            raise DataRefusedError(
                f"{self._name} does not know these cells",
                got=f"AUROC {area:.2f} ({low:.2f} to {high:.2f}) on {len(labels.truth)} cells in {groups}"
                " groups, in the best of the usual ways to feed it",
                allowed="an AUROC that is above .5 beyond doubt",
                cure="check the labels in the folder, or write how it is fed into a file and pass it as"
                " --contract FILE.toml",
            )
        others = [of for of in tried if of is not best]
        runners = [
            Runner(of.candidate.title, float(knows_the_cells(of, labels)[0]), told_apart(best, of, labels))
            for of in others
        ]
        runners.sort(key=lambda of: (of.told_apart_by is not None, -of.auroc))
        output, classes = self._output(best, labels)
        return FoundContract(
            self._contract(best.candidate),
            output,
            best.candidate.title,
            area,
            low,
            high,
            len(labels.truth),
            groups,
            tuple(runners),
            classes,
            rescales,
        )

    def _contract(self, way: Candidate) -> InputContract:
        """Return a way as a contract, for pictures like the first one."""
        first = self._cells[0]
        return way.contract(
            self._height,
            self._width,
            first.px_per_um,
            (first.height, first.width),
            surroundings="black" if first.on_black else "kept",
        )

    def _make(self, ways: Sequence[Candidate]) -> None:
        """Make (n, H, W, C) bytes, RGB or grey, for every framing and resizing; each picture is read once."""
        missing = {_framed_as(way): way for way in ways if _framed_as(way) not in self._made}
        if not missing:
            return
        contracts = {
            key: self._contract(replace(way, channels=GREY if way.channels == GREY else RGB))
            for key, way in missing.items()
        }
        made: dict[tuple[Framing, Resize], list[Bytes]] = {key: [] for key in contracts}
        for cell in self._cells:
            crop = read_crop(cell)
            for key, contract in contracts.items():
                made[key].append(to_tensor(crop, contract))
        self._made |= {key: np.stack(tensors) for key, tensors in made.items()}

    def _answers(self, tensors: Bytes, table: npt.NDArray[np.float32]) -> tuple[Floats, float | None]:
        self._norms.forget()
        parts = []
        for start in range(0, len(tensors), BATCH):
            batch = tensors[start : start + BATCH]
            real = look_up(table, batch)
            answer, *seen = _listed(self._norms.model(real, training=False))
            parts.append(np.asarray(answer, np.float64))
            self._norms.see(seen)
        return _probabilities(np.concatenate(parts), self._kind), self._norms.distance()

    def _output(self, best: Evidence, labels: Labelled) -> tuple[OutputContract, tuple[str, ...]]:
        """Say what each number means, by the class whose cells it is largest for."""
        positive = best.positive
        if best.outputs.shape[1] == 1:
            names = ("normal", "blast") if positive else ("blast", "normal")
            return OutputContract(kind=self._kind, labels=names, positive="blast"), names
        columns = column_names(best.outputs, labels, positive)
        chosen = tuple(columns[column] for column in positive)
        one_or_all = chosen[0] if len(chosen) == 1 else chosen
        return OutputContract(kind=self._kind, labels=columns, positive=one_or_all), columns


def _framed_as(way: Candidate) -> tuple[Framing, Resize]:
    return way.framing, way.resize


def column_names(outputs: Floats, labels: Labelled, positive: Sequence[int]) -> tuple[str, ...]:
    """Name the columns of (n, K) probabilities by the classes whose cells they are largest for.

    Each class names the column that it is clearest in; what is left is named by what it stands for.
    """
    kinds = sorted(set(labels.kind.tolist()))
    count = outputs.shape[1]
    names: dict[int, str] = {}
    if len(kinds) == count:
        mean = np.array([outputs[labels.kind == kind].mean(axis=0) for kind in kinds])
        share = mean / np.maximum(mean.sum(axis=0), 1e-12)
        for flat in np.argsort(-share, axis=None):
            row, column = divmod(int(flat), count)
            if column not in names and kinds[row] not in names.values():
                names[column] = kinds[row]
        return tuple(names[column] for column in range(count))
    sides = [sum((column in positive) == side for column in range(count)) for side in (False, True)]
    numbers = {False: 0, True: 0}
    found = []
    for column in range(count):
        side = column in positive
        numbers[side] += 1
        word = "blast" if side else "normal"
        found.append(word if sides[side] == 1 else f"{word} {numbers[side]}")
    return tuple(found)


def _survivors(first: Sequence[Evidence], labels: Labelled) -> list[Candidate]:
    """Return the ways that go on: by AUROC, and by the batch norms where there are some."""
    by_area = sorted(first, key=lambda of: -knows_the_cells(of, labels)[0])
    by_norms = sorted(
        (of for of in first if of.norm_distance is not None), key=lambda of: of.norm_distance or 0.0
    )
    kept = dict.fromkeys(of.candidate for of in (*by_area[: KEPT // 2], *by_norms[: KEPT // 2], *by_area))
    taken = list(kept)[:KEPT]
    return [of.candidate for of in first if of.candidate in taken]


def _probabilities(outputs: Floats, kind: OutputKind) -> Floats:
    if kind == "logit":
        return sigmoid(outputs)
    if kind == "logits":
        shifted = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))
    return outputs


def _listed(answers: Any) -> list[Any]:
    return list(answers) if isinstance(answers, (list, tuple)) else [answers]
