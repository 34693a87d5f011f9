"""What a network wants is read off its answers: which way to feed it, and which class is which."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeleuk.bundle.manifest import InputContract
from edgeleuk.errors import DataRefusedError, UsageError
from edgeleuk_convert.bundling.contract_search.candidates import (
    BGR,
    RGB,
    VALUES,
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
    log_odds_of,
    read_classes,
    told_apart,
)
from edgeleuk_convert.bundling.contract_search.search import _Trial, column_names, find_contract
from edgeleuk_convert.dataset.cells import LabelledCell
from edgeleuk_convert.quantization.bias_correction import begins_with_rescaling

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

GROUPS, OF_GROUP = 20, 12


def cells() -> Labelled:
    """Twenty groups of a dozen cells, half of them of blasts."""
    group = np.repeat([f"g{number:02}" for number in range(GROUPS)], OF_GROUP)
    truth = np.repeat(np.arange(GROUPS) % 2 == 0, OF_GROUP)
    kind = np.where(truth, np.tile(["Early", "Pre", "Pro"], len(group) // 3), "Benign")
    return Labelled(truth, kind, group, group)


def answers(
    sharpness: float, seed: int = 0, *, inverted: bool = False
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Draw (n, 1) probabilities that know the labels more or less."""
    truth = cells().truth
    logit = sharpness * (2 * truth - 1) + np.random.default_rng(seed).normal(0, 1, len(truth))
    return 1 / (1 + np.exp(logit if inverted else -logit))[:, None]


def way(number: int, sharpness: float, distance: float | None = None, seed: int = 0) -> Evidence:
    candidate = first_candidates(3, rescales=False)[number]
    return evidence(candidate, answers(sharpness, seed), cells(), distance)


@pytest.mark.parametrize("inverted", [False, True])
def test_one_number_is_read_by_the_side_it_rises_on(inverted: bool) -> None:
    outputs = answers(1.0, inverted=inverted)
    positive = read_classes(outputs, cells().truth)
    assert positive == (() if inverted else (0,))
    odds = log_odds_of(outputs, positive)
    assert odds[cells().truth].mean() > 0 > odds[~cells().truth].mean()


def test_columns_are_named_by_the_classes_that_they_are_largest_for() -> None:
    labels = cells()
    order = ["Pro", "Benign", "Early", "Pre"]
    outputs = np.array([[0.7 if kind == name else 0.1 for name in order] for kind in labels.kind])
    positive = read_classes(outputs, labels.truth)
    assert positive == (0, 2, 3)
    assert column_names(outputs, labels, positive) == tuple(order)
    # Of classes that the folder does not know, only the side can be told.
    two = np.stack([outputs[:, [0, 2, 3]].sum(axis=1), outputs[:, 1]], axis=1)
    assert column_names(two, labels, read_classes(two, labels.truth)) == ("blast", "normal")
    five = np.concatenate([outputs, outputs[:, :1]], axis=1)
    assert column_names(five, labels, (0, 2, 3, 4)) == ("blast 1", "normal", "blast 2", "blast 3", "blast 4")


def test_the_way_that_knows_the_cells_wins_by_auroc() -> None:
    good, bad = way(0, 2.0), way(1, 0.1, seed=1)
    assert best_of([bad, good], cells()) is good
    assert told_apart(good, bad, cells()) == "AUROC"
    assert knows_the_cells(good, cells())[3]
    assert not knows_the_cells(way(0, 0.0, seed=3), cells())[3]


def test_batch_norms_tell_ways_apart_that_answer_alike() -> None:
    near, far = way(0, 1.5, distance=0.1), way(1, 1.5, distance=2.0)
    assert best_of([far, near], cells()) is near
    assert told_apart(near, far, cells()) == "batch norms"
    assert told_apart(far, near, cells()) is None


def test_alike_is_alike() -> None:
    one, same = way(0, 1.5), way(1, 1.5)
    assert best_of([one, same], cells()) is one
    assert told_apart(one, same, cells()) is None


def test_every_way_makes_a_contract_and_none_comes_twice() -> None:
    for depth in (1, 3):
        ways = first_candidates(depth, rescales=False)
        assert len(set(ways)) == len(ways)
        for candidate in [*ways, *(other for of in ways for other in otherwise_resized(of))]:
            contract = candidate.contract(64, 64, 18.5)
            assert isinstance(contract, InputContract)
            assert len(contract.channels) == depth
            assert contract.px_per_um == pytest.approx(18.5 * 64 / 450)
    assert all(of.values.title.startswith("bytes") for of in first_candidates(3, rescales=True)[:6])


def test_values_follow_the_order_of_the_colours() -> None:
    caffe = next(of for of in VALUES if "caffe" in of.title)
    rgb, bgr = (Candidate(caffe, order, "picture", "bilinear").contract(64, 64, 18.5) for order in (RGB, BGR))
    assert rgb.offset == tuple(reversed(bgr.offset))  # type: ignore[arg-type]


def network(*, rescaled: bool, classes: int = 1, activation: str | None = "sigmoid") -> Any:
    import keras
    from keras import layers

    keras.utils.set_random_seed(2)
    image = keras.Input((16, 16, 3))
    x = layers.Rescaling(1 / 255)(image) if rescaled else image
    x = layers.BatchNormalization()(layers.Conv2D(4, 3)(x))
    x = layers.GlobalAveragePooling2D()(layers.ReLU()(x))
    return keras.Model(image, layers.Dense(classes, activation=activation)(x))


@pytest.mark.parametrize("share", [1.0, 0.7])
def test_norms_recognise_what_they_were_taught(share: float) -> None:
    """Also where training was so short that their averages have not come all the way."""
    rng = np.random.default_rng(0)
    images = rng.normal(0.4, 0.2, (64, 16, 16, 3)).astype(np.float32)
    model = network(rescaled=False)
    norm = next(layer for layer in model.layers if type(layer).__name__ == "BatchNormalization")
    norms = FirstNorms(model)
    seen = np.asarray(norms.model(images, training=False)[1]).reshape(-1, 4)
    norm.moving_mean.assign(share * seen.mean(axis=0))
    norm.moving_variance.assign(share * seen.var(axis=0) + 1 - share)
    norms = FirstNorms(model)
    distances = []
    for fed in (images, 2 * images - 1, 255 * images):
        norms.forget()
        norms.see([np.asarray(norms.model(fed, training=False)[1])])
        distances.append(norms.distance())
    assert distances[0] is not None
    assert distances[0] < 0.01
    assert min(of or 0.0 for of in distances[1:]) > 0.5


def test_rescaling_inside_is_seen() -> None:
    assert begins_with_rescaling(network(rescaled=True))
    assert not begins_with_rescaling(network(rescaled=False))


def labelled(count: int, *, both: bool = True) -> list[LabelledCell]:
    return [
        LabelledCell(
            Path(f"{number}.png"), "blast" if number % 2 and both else "normal", f"s{number}", f"s{number}",
            f"{number:064x}", 100, 450, 450,
        )
        for number in range(count)
    ]  # fmt: skip


def test_what_cannot_be_found_out_is_refused() -> None:
    import keras
    from keras import layers

    with pytest.raises(DataRefusedError, match="labelled cells of both classes"):
        find_contract(network(rescaled=False), "x.keras", labelled(60, both=False))
    image = keras.Input((16, 16, 2))
    masked = keras.Model(image, layers.Dense(1)(layers.Flatten()(image)))
    with pytest.raises(UsageError, match=r"what the 2 channels of x\.keras hold cannot be found out"):
        find_contract(masked, "x.keras", labelled(60))
    with pytest.raises(UsageError, match=r"x\.keras ends in nothing that tells what its 1 numbers are"):
        find_contract(network(rescaled=False, activation="tanh"), "x.keras", labelled(60))


def test_reading_of_a_column_that_nothing_tells() -> None:
    flat = np.full((len(cells().truth), 2), 0.5)
    positive = read_classes(flat, cells().truth)
    assert len(positive) == 1


def test_a_loss_tells_only_where_there_are_no_norms() -> None:
    """Of a network that is too sure of itself, wrong ways can have the smaller loss."""
    sharp, mild = way(0, 0.8), way(1, 0.8)
    sure = Evidence(mild.candidate, mild.outputs, mild.positive, 20 * mild.log_odds, None)
    assert told_apart(sharp, sure, cells()) == "log loss"
    assert best_of([sure, sharp], cells()) is sharp
    ways = [Evidence(of.candidate, of.outputs, of.positive, of.log_odds, 0.1) for of in (sharp, sure)]
    assert told_apart(ways[0], ways[1], cells()) is None


def test_no_further_way_is_no_fault() -> None:
    """A centred cell is not resized otherwise, so that there may be nothing left to try."""
    trial = _Trial(network(rescaled=False), "x.keras", labelled(60), 0, None)
    assert trial.run([], labelled(60)[:4]) == []
