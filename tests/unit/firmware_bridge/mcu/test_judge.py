"""What an export makes of a network's answer in C: compiled here, and held against edgeleuk's own."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from exported_c import STRICT, run, tool
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeleuk.bundle.contracts import Answer
from edgeleuk.bundle.features import FeatureStatistics
from edgeleuk.bundle.forest import Forest
from edgeleuk.bundle.heads import HAND_CRAFTED, KernelHead, encode_head
from edgeleuk.bundle.manifest import (
    BLAST,
    Appearance,
    Envelope,
    FeatureLimit,
    InputContract,
    Manifest,
    OutOfDistribution,
    OutputContract,
    Provenance,
)
from edgeleuk.bundle.reading import read_bundle
from edgeleuk.bundle.support_vectors import SupportVectors
from edgeleuk.classifier.decision import CellEvidence, Rules, decide
from edgeleuk.deploy.deployment import Deployment
from edgeleuk.deploy.judge import Judge
from edgeleuk.deploy.microcontroller import contract_constants
from edgeleuk.deploy.tables import forest_part
from edgeleuk.errors import BundleError
from edgeleuk.io.closing import Closing
from edgeleuk_firmware_bridge.mcu import export as mcu
from edgeleuk_firmware_bridge.mcu import sources
from edgeleuk_firmware_bridge.mcu.flatbuffer import Tensor
from edgeleuk_firmware_bridge.mcu.memory import Arena

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]

# A map of 5 x 6 places of 4 pixels, with rows and columns over that belong to no place.
CONTRACT = InputContract(
    height=22, width=27, channels=("red", "mask", "nucleus"), normalise=True, px_per_um=2, crop_px_per_um=2
)  # fmt: skip
ROWS, COLUMNS, CHANNELS, MASKS = 5, 6, 4, 2
PLACES, FEATURES = ROWS * COLUMNS, MASKS * 2 * CHANNELS
SCALE, ZERO_POINT = 0.03125, -7
# Of C in single precision, as main.cc allows it; relative where numbers are large.
TOLERANCE = sources.TOLERANCE_LOG_ODDS
CALLS = ("normal", "blast", "uncertain")
RANDOM = np.random.default_rng(5)


@dataclass(frozen=True)
class Reduced:
    """Support vectors in few directions, as a projection leads to them."""

    mean: Floats
    deviation: Floats
    projection: npt.NDArray[np.float16]
    vectors: npt.NDArray[np.float16]
    weights: Floats
    bias: float

    def log_odds(self, features: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Judge (n, F) features, in double precision."""
        z = (np.asarray(features, np.float64) - self.mean) / self.deviation @ self.projection.astype(float)
        squares = ((z[:, None] - self.vectors.astype(float)) ** 2).sum(axis=2) / self.mean.size
        found: npt.NDArray[np.float64] = np.exp(-squares) @ self.weights + self.bias
        return found


class Told(Closing):
    """A network that answers what it was told, as a microcontroller's int8 outputs are read."""

    name = "told"

    def __init__(self, outputs: list[npt.NDArray[np.int8]]) -> None:
        self.outputs = [(output.astype(np.float64) - ZERO_POINT) * SCALE for output in outputs]

    def predict(self, tensors: npt.NDArray[np.uint8]) -> Answer:
        rows = [output.astype(np.float32)[None][: len(tensors)] for output in self.outputs]
        answer, *features = sorted(rows, key=lambda row: row.shape[1])
        return Answer(answer, features[0] if features else None)

    def close(self) -> None:
        """It holds nothing."""


def standard(width: int) -> dict[str, Floats]:
    return {
        "mean": RANDOM.normal(0, 1, width).astype(np.float32),
        "deviation": RANDOM.uniform(0.2, 2, width).astype(np.float32),
    }


def support(count: int = 40) -> SupportVectors:
    vectors = RANDOM.normal(0, 1, (count, FEATURES)).astype(np.float16)
    # One that half precision holds as a subnormal number.
    vectors[0, 0] = 3e-6
    return SupportVectors(
        **standard(FEATURES), vectors=vectors,
        weights=RANDOM.normal(0, 9, count).astype(np.float32), bias=-0.3,
    )  # fmt: skip


def reduced() -> Reduced:
    return Reduced(
        **standard(FEATURES), projection=RANDOM.normal(0, 0.4, (FEATURES, 5)).astype(np.float16),
        vectors=RANDOM.normal(0, 1, (12, 5)).astype(np.float16),
        weights=RANDOM.normal(0, 9, 12).astype(np.float32), bias=0.7,
    )  # fmt: skip


def kernel(features: int = FEATURES) -> KernelHead:
    width = features + HAND_CRAFTED
    return KernelHead(
        **standard(width), vectors=RANDOM.normal(0, 1, (30, width)).astype(np.float16),
        weights=RANDOM.normal(0, 3, (30, 1)).astype(np.float32), bias=np.array([0.2], np.float32), gamma=1.7,
    )  # fmt: skip


def forest() -> Forest:
    """Two trees: a leaf, and one that asks twice; single precision holds the second limit alone."""
    return Forest(
        feature=np.array([2, 13, -1, -1, -1, -1], np.int16),
        limit=np.array([0.1, -0.375, 0, 0, 0, 0]), left=np.array([1, 2, 0, 0, 0, 0], np.int32),
        right=np.array([4, 3, 0, 0, 0, 0], np.int32), value=np.array([0, 0, 0.1, 0.9, 1, 1], np.float32),
        roots=np.array([0, 5], np.int32),
    )  # fmt: skip


def statistics(features: int = FEATURES) -> FeatureStatistics:
    rows = np.linalg.qr(RANDOM.normal(0, 1, (features, 3)))[0].T * [[1], [0.5], [3]]
    mean = RANDOM.normal(0, 1, features).astype(np.float32)
    return FeatureStatistics(mean, rows.astype(np.float32), 1.3)


def judge_of(output: OutputContract, **parts: object) -> Judge:
    wide = (0.0, 9.0)
    gate = None
    if "statistics" in parts:
        gate = OutOfDistribution(Appearance(wide, wide, wide, wide), FeatureLimit(2.5, 9, 3))
    manifest = Manifest(
        schema_version=4, name="drawn", input=CONTRACT, output=output, envelope=Envelope(area_um2=(20, 400)),
        provenance=Provenance(float_parent_sha256="0" * 64, architecture="drawn", parameters=1, tools={}),
        members={}, licence="Apache-2.0", data_citation="none", gate=gate,
    )  # fmt: skip
    none = dict.fromkeys(("support", "blast", "forest", "statistics"))
    return Judge(manifest=manifest, kind_bytes=0, **(none | parts))  # type: ignore[arg-type]


LOGIT = OutputContract(kind="logit", temperature=1.7, bias=-0.4, threshold=0.55, abstain=(0.4, 0.7))
FIRST = OutputContract(kind="logit", positive="normal", temperature=0.6)
JOINED = OutputContract(kind="logit", temperature=0.9, bias=0.2, forest_weight=0.8, abstain=(0.5, 0.5))
THREE = ("normal", "blast", "other")
MAP = (PLACES * CHANNELS,)
CASES = {
    "support vectors": (judge_of(LOGIT, support=support()), MAP),
    "reduced": (judge_of(LOGIT, support=reduced()), MAP),
    "with forest and gate": (
        judge_of(JOINED, support=support(), forest=forest(), statistics=statistics()), MAP
    ),
    "head for blasts": (judge_of(FIRST, blast=kernel(), statistics=statistics()), MAP),
    "head and features": (
        judge_of(JOINED, blast=kernel(11), forest=forest(), statistics=statistics(11)), (11, 1)
    ),
    "logit": (judge_of(LOGIT), (1,)),
    "logit and features": (judge_of(FIRST, statistics=statistics(9)), (1, 9)),
    "probability": (judge_of(OutputContract(kind="probability", positive="normal")), (1,)),
    "logits": (judge_of(OutputContract(kind="logits", labels=THREE, positive="blast", bias=0.1)), (3,)),
    "softmax": (judge_of(OutputContract(kind="softmax", labels=THREE, positive="other")), (3,)),
}  # fmt: skip


class Compiled:
    """The C of a judge, in this process."""

    def __init__(self, judge: Judge, widths: tuple[int, ...], folder: Path) -> None:
        self.judge, self.widths, self.beside = judge, widths, judge.beside(widths)
        network = Deployment(
            "drawn", "0" * 64, "none", "none", b"", self.beside, tuple(range(-128, 128)),
            contract_constants(judge.manifest), ("",) * len(widths), (), (), "nobody", 0, 0.0,
        )  # fmt: skip
        self.network = network
        shape = (1, *CONTRACT.shape)
        source = Tensor("input", shape, "INT8", scale=1.0, zero_point=-128)
        sinks = [Tensor("output", (1, width), "INT8", scale=SCALE, zero_point=ZERO_POINT) for width in widths]
        header = sources.constants_header(network, source, sinks, Arena(64, 32), 1)
        (folder / "edgeleuk_constants.h").write_text(header)
        (folder / "edgeleuk_constants.c").write_text(sources.constants_source(network, sinks))
        (folder / "edgeleuk_tables.h").write_text(sources.tables_header(self.beside.tables))
        (folder / "edgeleuk_tables.c").write_text(sources.tables_source(self.beside.tables))
        for name in mcu.AS_THEY_ARE:
            (folder / name).write_text(mcu.as_it_is(name))
        files = sorted(folder.glob("*.c"))
        words = ("-std=c11", *STRICT, "-O1", "-shared", "-fPIC")
        run(tool("gcc"), *words, *files, "-lm", "-o", folder / "judge.so", cwd=folder)
        self.c = ctypes.CDLL(str(folder / "judge.so"))
        self.c.edgeleuk_decide.argtypes = (ctypes.c_void_p, ctypes.c_float)

    def judged(
        self,
        tensor: npt.NDArray[np.uint8],
        outputs: list[npt.NDArray[np.int8]],
        numbers: Floats,
    ) -> tuple[Floats, npt.NDArray[np.int8]]:
        """Return the cell as C keeps it, and the network's input."""
        cell = np.full(self.beside.cell_bytes // 4, np.nan, np.float32)
        # In place, as in an arena.
        both = tensor.copy()
        self.c.edgeleuk_load(pointer(both), pointer(both), pointer(cell))
        rows = (ctypes.c_void_p * len(outputs))(*(output.ctypes.data for output in outputs))
        self.c.edgeleuk_judge(rows, pointer(numbers) if numbers.size else None, pointer(cell))
        return cell, both.view(np.int8)

    def called(self, cell: Floats, area_um2: float) -> str:
        return CALLS[self.c.edgeleuk_decide(pointer(cell), area_um2)]


def pointer(array: npt.NDArray[np.generic]) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


@pytest.fixture(scope="module", params=sorted(CASES))
def compiled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    judge, widths = CASES[request.param]
    return Compiled(judge, widths, tmp_path_factory.mktemp("judge"))


def mask(kind: str, random: np.random.Generator) -> npt.NDArray[np.uint8]:
    size = CONTRACT.shape[:2]
    drawn = {"none": np.zeros(size), "all": np.ones(size), "some": random.random(size) < random.random()}
    return (drawn[kind] * 255).astype(np.uint8)


def close(ours: float, theirs: float) -> bool:
    return abs(ours - theirs) <= TOLERANCE * max(1, abs(theirs))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    spread=st.sampled_from([0, 3, 30, 200]),
    masks=st.tuples(*[st.sampled_from(["none", "all", "some"])] * 2),
    on_limits=st.booleans(),
)
def test_c_judges_as_edgeleuk_does(
    compiled: Compiled, seed: int, spread: int, masks: tuple[str, str], on_limits: bool
) -> None:
    random = np.random.default_rng(seed)
    tensor = random.integers(0, 256, CONTRACT.shape).astype(np.uint8)
    tensor[..., 1], tensor[..., 2] = (mask(kind, random) for kind in masks)
    outputs = [
        np.clip(np.rint(random.normal(ZERO_POINT, spread, width)), -128, 127).astype(np.int8)
        for width in compiled.widths
    ]
    judge = compiled.judge
    numbers = random.normal(0, 1, (1, judge.numbers)).astype(np.float32)
    if on_limits and judge.forest is not None:
        numbers = judge.drawn_numbers(64)[[seed % 64]]
    cell, fed = compiled.judged(tensor, outputs, numbers)
    log_odds, probability, distance = cell[-3:].astype(float)
    geometry = judge.geometry(compiled.widths)
    (wanted,), (far,) = judge.judged(Told(outputs), geometry, tensor[None], numbers)
    assert close(log_odds, wanted)
    assert close(distance, far)
    assert close(probability, 0.5 * (1 + np.tanh(wanted / 2)))
    assert fed.tobytes() == compiled.network.fed(tensor.tobytes())


@settings(max_examples=200, deadline=None)
@given(
    probability=st.floats(0, 1),
    area_um2=st.sampled_from([0.0, 19.9, 20.1, 100.0, 399.9, 400.1, float("nan")]),
    distance=st.sampled_from([0.0, 2.4, 2.6, float("nan")]),
)
def test_c_calls_as_edgeleuk_does(
    compiled: Compiled, probability: float, area_um2: float, distance: float
) -> None:
    judge, output = compiled.judge, compiled.judge.manifest.output
    # What single precision cannot tell from a limit may go either way.
    limits = (*output.abstain, output.threshold)
    if min(abs(probability - limit) for limit in limits) < 1e-6:
        probability = 0.0
    cell = np.zeros(compiled.beside.cell_bytes // 4, np.float32)
    cell[-2:] = probability, distance
    manifest = judge.manifest
    # The forest is there for its weight alone: nothing is asked of it.
    rules = Rules(output, manifest.envelope, manifest.gate, judge.statistics, forest=judge.forest)
    known = distance if judge.statistics is not None else None
    prediction = decide(CellEvidence(probability, area_um2, None, known), rules)
    assert compiled.called(cell, area_um2) == prediction.decision.value


@pytest.mark.parametrize("name", ["support vectors", "logit"])
def test_what_is_no_number_is_uncertain(name: str, tmp_path: Path) -> None:
    compiled = Compiled(*CASES[name], tmp_path)
    cell = np.full(compiled.beside.cell_bytes // 4, np.nan, np.float32)
    assert compiled.called(cell, 100) == "uncertain"


def test_a_large_forest_has_wider_indices() -> None:
    grown = forest()
    kinds = {table.name: table.kind for table in forest_part(grown).tables}
    assert kinds["forest_left"] == "uint16_t"
    leaves = (1 << 16) - 5
    wide = Forest(
        *(np.append(getattr(grown, name), np.full(leaves, at, getattr(grown, name).dtype))
          for name, at in (("feature", -1), ("limit", 0), ("left", 0), ("right", 0), ("value", 0.5))),
        roots=grown.roots,
    )  # fmt: skip
    assert {table.name: table.kind for table in forest_part(wide).tables}["forest_left"] == "uint32_t"


def test_limits_go_down_and_ask_the_same_of_single_numbers() -> None:
    grown = forest()
    (value,) = (table.data for table in forest_part(grown).tables if table.name == "forest_value")
    limits = np.frombuffer(value, np.float32)[:2]
    above = np.nextafter(limits, np.float32(np.inf))
    assert (limits <= grown.limit[:2]).all()
    assert limits[1] == grown.limit[1]
    assert (above > grown.limit[:2]).all()


@pytest.mark.parametrize(
    ("judge", "widths", "sentence"),
    [
        (CASES["support vectors"][0], (PLACES * CHANNELS + 1,), "map does not fit the support vectors"),
        (CASES["head and features"][0], (1, 12), "does not give the features .* got 12 features: allowed 11"),
        (CASES["logit and features"][0], (1,), "does not give the features .* got 0 features: allowed 9"),
        (replace(CASES["with forest and gate"][0], statistics=statistics(9)), MAP, "got 16 features"),
    ],
    ids=["map", "features", "none", "statistics"],
)
def test_parts_that_do_not_fit_are_refused(judge: Judge, widths: tuple[int, ...], sentence: str) -> None:
    with pytest.raises(BundleError, match=sentence.replace(": allowed", ".*allowed")):
        judge.beside(widths)


def test_a_head_with_several_answers_is_refused() -> None:
    shipped, one = read_bundle("default"), kernel()
    two = replace(one, weights=np.hstack([one.weights] * 2), bias=np.zeros(2, np.float32))
    with pytest.raises(BundleError, match=r"blast.npz in .* has several answers.*got 2"):
        Judge.of(replace(shipped, members={**shipped.members, BLAST: encode_head(two)}))
