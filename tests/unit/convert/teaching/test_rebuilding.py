"""A bundle with new heads is one like any other: it opens, tells its descent, and passes its self-test."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from teaching_heads import (
    blast_head,
    drawn_cells,
    fitted,
    kind_contract,
    kind_head,
    taught,
    taught_heads,
    without_heads,
)

from edgeleuk.bundle.contents import Bundle
from edgeleuk.bundle.contracts import Answer
from edgeleuk.bundle.golden import decode_golden
from edgeleuk.bundle.heads import KernelHead, encode_head
from edgeleuk.bundle.manifest import (
    BLAST,
    CARD,
    FEATURES,
    FOREST,
    GOLDEN,
    KIND,
    MODEL_FILES,
    REFERENCE,
    SUPPORT,
)
from edgeleuk.bundle.reading import decode_bundle, read_bundle
from edgeleuk.bundle.reference import decode_reference
from edgeleuk.bundle.writing import bundle_bytes, describe_members, write_bundle
from edgeleuk.classifier.classifier import open_classifier
from edgeleuk.classifier.self_test import replay
from edgeleuk.errors import BundleError
from edgeleuk.inference.litert import LiteRtRuntime
from edgeleuk.inference.pooled import PooledRuntime
from edgeleuk.results import Decision
from edgeleuk.results.kinds import Kind
from edgeleuk.virtual.cells import single_cell
from edgeleuk_convert.teaching.rebuilding import rebuilt

if TYPE_CHECKING:
    from collections.abc import Callable

    from teaching_heads import DrawnCells

NOTES = ("AUROC .9 of 12 cells",)


@pytest.fixture(scope="module")
def shipped() -> Bundle:
    return without_heads(read_bundle("default"))


@pytest.fixture(scope="module")
def cells(shipped: Bundle) -> DrawnCells:
    return drawn_cells(shipped)


@pytest.fixture(scope="module")
def path(shipped: Bundle, cells: DrawnCells, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("taught") / "lab.edgeleuk"
    write_bundle(place, *rebuilt(shipped, taught_heads(shipped, cells), taught(shipped), NOTES))
    return place


@pytest.fixture(scope="module")
def lab(path: Path) -> Bundle:
    return read_bundle(path)


def test_the_same_heads_give_the_same_bytes(shipped: Bundle, cells: DrawnCells, path: Path) -> None:
    again = rebuilt(shipped, taught_heads(shipped, cells), taught(shipped), NOTES)
    assert bundle_bytes(*again) == path.read_bytes()


def test_networks_stay_and_what_is_replaced_falls_away(shipped: Bundle, lab: Bundle) -> None:
    for name in (*MODEL_FILES, FEATURES, "training.json", "calibration.json"):
        assert lab.members.get(name) == shipped.members.get(name)
    assert {SUPPORT, FOREST} & lab.members.keys() == set()
    assert {BLAST, KIND, REFERENCE} <= lab.members.keys()
    assert lab.manifest.schema_version == 6
    old, new = (decode_golden(bundle.members[GOLDEN]) for bundle in (shipped, lab))
    np.testing.assert_array_equal(new.tensors, old.tensors)
    for name, kernels in old.networks.items():
        for kernel, golden in kernels.items():
            np.testing.assert_array_equal(new.networks[name][kernel].answer.features, golden.answer.features)
            assert not new.networks[name][kernel].answer.outputs.any()


def test_it_says_where_it_comes_from(shipped: Bundle, lab: Bundle, cells: DrawnCells) -> None:
    assert lab.manifest.descent == (taught(shipped),)
    assert lab.manifest.name == "lab"
    known = shipped.manifest.provenance.training_subjects
    assert lab.manifest.provenance.training_subjects == (*known, "lab-1", "lab-2")
    card = lab.members[CARD].decode()
    assert card.startswith("# lab\n")
    for words in ("## Taught\n", shipped.sha256, "laboratory: lab", "ab" * 32, "a new head", *NOTES):
        assert words in card
    # Whose figures are whose: the parent's are named as such, the new ones have a section of their own.
    shipped_card = shipped.members[CARD].decode()
    heading = "## Accuracy on subjects that did not teach the judge"
    assert heading + "\n" in shipped_card
    parents, _, own = card.partition("## Accuracy in lab\n")
    assert f"{heading}: figures of `default`\n\nThese are the parent's figures" in parents
    assert "The head for blasts was taught since" in parents
    assert "figures of this bundle, on 24 cells of 12 slides" in own
    assert NOTES[0] in own
    assert NOTES[0] not in parents
    found = decode_reference(lab.members[REFERENCE])
    assert np.abs(found.values() - cells.values).max() <= np.ptp(cells.values, axis=0).max() / 254 / 2 * 1.01
    assert found.citations[0] in card


def test_it_passes_its_self_test_on_every_runtime(lab: Bundle) -> None:
    results = replay(lab)
    assert {result.status for result in results} == {"ok"}
    assert [result.model for result in results if "decisions" in result.model] == [
        f"{name} decisions" for name in lab.manifest.model_names
    ]


def test_a_head_that_judges_otherwise_does_not_pass(lab: Bundle, cells: DrawnCells) -> None:
    """Whoever puts in other heads than those of the golden vectors is found out by their decisions, too."""
    for name, head in ((BLAST, blast_head(cells)), (KIND, kind_head(cells))):
        turned = replace(head, weights=-head.weights)
        members = dict(lab.members) | {name: encode_head(turned)}
        manifest = msgspec.structs.replace(lab.manifest, members=describe_members(members))
        results = replay(Bundle(lab.path, lab.sha256, manifest, members))
        moved = {result.model for result in results if result.status == "moved"}
        assert {"contract", "model.int8.tflite decisions", "model.int8.onnx decisions"} <= moved


def test_features_within_their_tolerance_do_not_fail_it(lab: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nearly the mean difference that is allowed, in any direction, and more of it at places."""
    tolerance = decode_golden(lab.members[GOLDEN]).networks["model.int8.tflite"]["usual"].features
    judge, rng = PooledRuntime.judge, np.random.default_rng(0)

    def noisy(self: PooledRuntime, answer: Answer, tensors: np.ndarray) -> Answer:
        found = judge(self, answer, tensors)
        assert found.features is not None
        if not len(tensors) or not isinstance(self.network, LiteRtRuntime):
            return found
        off = rng.exponential(0.9 * tolerance.mean, found.features.shape)
        signs = rng.choice((-1, 1), off.shape)
        near = found.features + signs * np.minimum(off, 0.9 * tolerance.largest)
        return Answer(found.outputs, near.astype(np.float32))

    monkeypatch.setattr(PooledRuntime, "judge", noisy)
    for _ in range(3):
        results = [result for result in replay(lab) if result.model.startswith("model.int8.tflite")]
        assert [result.status for result in results] == ["ok"] * 3
        assert results[1].largest_difference > 0


def test_kinds_come_first_and_others_have_no_probability(lab: Bundle) -> None:
    crops = [single_cell(label, seed) for seed in range(500, 508) for label in ("blast", "normal")]
    with open_classifier(lab) as one, open_classifier(lab, runtime="onnxruntime") as other:
        found, same = one.classify(crops), other.classify(crops)
    assert {prediction.kind for prediction in found} >= {Kind.LYMPHOCYTE, Kind.NEUTROPHIL}
    for prediction in found:
        known = prediction.kind is not None
        other = known and prediction.kind is not Kind.LYMPHOCYTE
        assert (prediction.decision is Decision.OTHER) == other
        assert bool(np.isnan(prediction.probability)) == (other or not known)
    assert sum(a.decision is b.decision for a, b in zip(found, same, strict=True)) >= len(crops) - 2


def test_it_can_be_taught_again_or_be_recalibrated_alone(
    shipped: Bundle, lab: Bundle, cells: DrawnCells
) -> None:
    nothing_new = {"blast": None, "kind": None, "kind_contract": None, "reference": None}
    manifest, members = rebuilt(
        lab,
        taught_heads(lab, cells, **nothing_new),
        taught(lab, choice="recalibrated", heads=(), laboratory="other", at=None),
        (),
        name="second",
    )
    second = decode_bundle(bundle_bytes(manifest, members), Path("second.edgeleuk"))
    assert [step.laboratory for step in second.manifest.descent] == ["lab", "other"]
    for name in (BLAST, KIND, REFERENCE):
        assert second.members[name] == lab.members[name]
    card = second.members[CARD].decode()
    assert "## Taught again\n" in card
    # Those of each ancestor stay its own.
    headings = [line for line in card.splitlines() if line.startswith("## Accuracy")]
    assert headings == [
        "## Accuracy on subjects that did not teach the judge: figures of `default`",
        "## Accuracy in edgeleuk: figures of `default`",
        "## Accuracy in lab: figures of `lab`",
    ]
    # The shipped head, with a temperature of its own: the support vectors and the forest stay.
    output = msgspec.structs.replace(shipped.manifest.output, temperature=2.5)
    heads = taught_heads(shipped, cells, output=output, **nothing_new)
    members = rebuilt(shipped, heads, taught(shipped, heads=()), ())[1]
    assert {SUPPORT, FOREST} <= members.keys()
    assert {BLAST, KIND} & members.keys() == set()
    old, new = (
        decode_golden(of[GOLDEN]).networks["model.int8.tflite"]["usual"] for of in (shipped.members, members)
    )
    np.testing.assert_array_equal(new.answer.outputs, old.answer.outputs)
    assert new.outputs == old.outputs
    assert new.probabilities is not None
    assert old.probabilities is not None
    assert np.abs(new.probabilities - old.probabilities).max() > 0.01


def narrower(head: KernelHead) -> KernelHead:
    return KernelHead(
        head.mean[1:], head.deviation[1:], head.vectors[:, 1:], head.weights, head.bias, head.gamma
    )


def too_few_kinds(cells: DrawnCells) -> dict[str, object]:
    contract = kind_contract(cells)
    two = msgspec.structs.replace(contract, kinds=contract.kinds[:2], distances=contract.distances[:2])
    return {"kind_contract": two}


FAULTS: dict[str, tuple[Callable[[DrawnCells], dict[str, object]], str]] = {
    "a head of other width": (
        lambda c: {"blast": narrower(blast_head(c))},
        "blast.npz in lab and the bundle do not fit: got 447 features, allowed 448",
    ),
    "kinds of other width": (
        lambda c: {"kind": narrower(kind_head(c))},
        "kind.npz in lab and the bundle do not fit: got 447 features, allowed 448",
    ),
    "two answers for blasts": (
        lambda c: {"blast": fitted(c.values, np.eye(2)[c.blast.astype(int)])},
        "blast.npz in lab and the bundle do not fit: got 2 scores, allowed 1",
    ),
    "a kind too few": (too_few_kinds, "kind.npz in lab and the bundle do not fit: got 3 scores, allowed 2"),
    "kinds without a head": (
        lambda c: {"kind": None, "kind_contract": kind_contract(c)},
        "the head for kinds and its contract do not come together",
    ),
    "a head without its kinds": (
        lambda _: {"kind_contract": None},
        "kind.npz in lab and the bundle do not fit: got 3 scores, allowed 0",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_does_not_fit_is_refused(shipped: Bundle, cells: DrawnCells, fault: str) -> None:
    changes, sentence = FAULTS[fault]
    with pytest.raises(BundleError) as caught:
        rebuilt(shipped, taught_heads(shipped, cells, **changes(cells)), taught(shipped), NOTES)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 7


def test_nothing_heavy_is_loaded() -> None:
    heavy = "tensorflow", "keras", "onnx", "sklearn", "matplotlib"
    script = f"import sys, edgeleuk_convert.teaching.rebuilding; print(set({heavy}) & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
