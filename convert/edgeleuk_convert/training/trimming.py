"""Keep of a network's blocks the channels that tell, and fit what comes after to them: no gradients.

A block widens its input, looks at each channel by itself, and projects. The projection is least squares: of
the channels that it is given, those are kept from which the block's answer can be told best, one after the
other. Each block is fitted to what the untrimmed network says there, on what the trimmed one says before, so
that it mends what was lost on the way. Sources: Pati, Rezaiifar and Krishnaprasad, "Orthogonal matching
pursuit", Asilomar 1993; He, Zhang and Sun, "Channel pruning for accelerating very deep neural networks",
ICCV 2017.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeleuk_convert.networks.architectures.efficientnet_lite import EPSILON

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from edgeleuk_convert.networks.architectures import Keras

    Floats = npt.NDArray[np.float32]
    Doubles = npt.NDArray[np.float64]

BATCH = 16
# Of a channel's mean square, and of what is left of a channel: below, it says nothing of its own.
RIDGE, LEAST = 1e-4, 1e-6
EXPANSION = ("expand_conv", "expand_norm", "expand_relu")
DEPTHWISE = ("depthwise_conv", "depthwise_norm", "depthwise_relu")


def trim(
    student: Keras, teacher: Keras, blocks: Sequence[int], near: Floats, seen: Floats, at: Floats
) -> None:
    """Give a student's blocks the weights of the larger network's, trimmed.

    Parameters
    ----------
    student, teacher : keras.Model
        Both have `blocks`; the student's are not wider.
    blocks : sequence of int
        That follow each other.
    near, seen : (n, h, w, C) float32
        What goes into the first block: of the teacher, and of the student in its place.
    at : (n, h2, w2) float32
        How much each place of the blocks' maps counts.
    """
    true, ours, weights = near, seen, at.reshape(-1, 1).astype(np.float64)
    for number in blocks:
        block = _Block(teacher, number)
        true_out, inside = block(true), block.inside(ours)
        shortcut = ours if block.adds else np.float32(0)
        target = _places(true_out - shortcut)
        every = np.concatenate([_places(inside), np.ones((len(target), 1))], axis=1)
        gram, towards = every.T @ (weights * every), every.T @ (weights * target)
        name = f"block{number}"
        width = student.get_layer(f"{name}_depthwise_conv").output.shape[-1]
        kept = telling_channels(gram, towards, width)
        rows = [*kept, len(gram) - 1]
        left = gram[np.ix_(rows, rows)]
        left[np.diag_indices(width)] += RIDGE * np.diag(left)[:-1].mean()
        *projection, level = np.linalg.solve(left, towards[rows])
        answer = every[:, kept] @ np.asarray(projection)
        block.give(student, kept, np.asarray(projection), answer, level)
        true, ours = true_out, (answer + level).reshape(true_out.shape).astype(np.float32) + shortcut


def telling_channels(gram: Doubles, towards: Doubles, count: int) -> list[int]:
    """Return which channels tell most together, by orthogonal matching pursuit.

    Parameters
    ----------
    gram : (C + 1, C + 1) float64
        Weighted products of the channels and of a last one that is always 1.
    towards : (C + 1, K) float64
        Their products with what is to be told; each of the K counts the same.
    count : int
    """
    left, told, free = gram.copy(), towards.copy(), np.ones(len(gram), bool)

    def take(channel: int) -> None:
        column, by, row = left[:, channel].copy(), left[channel, channel], told[channel].copy()
        left[...] -= np.outer(column, column) / by
        told[...] -= np.outer(column, row) / by
        free[channel] = False

    take(len(gram) - 1)
    taken: list[int] = []
    while len(taken) < count:
        own = np.diag(left)
        able = free & (own > LEAST * np.diag(gram))
        gain = np.where(able, (told**2).sum(axis=1) / np.maximum(own, 1e-12), np.where(free, 0.0, -1.0))
        taken.append(int(gain.argmax()))
        if able[taken[-1]]:
            take(taken[-1])
        free[taken[-1]] = False
    return sorted(taken)


class _Block:
    """One block of the larger network."""

    def __init__(self, teacher: Keras, number: int) -> None:
        import keras

        self._name = f"block{number}"
        self._teacher = teacher
        end = self._layer("project_norm").output
        self.adds = any(layer.name == f"{self._name}_add" for layer in teacher.layers)
        if self.adds:
            end = self._layer("add").output
        begin = self._layer("expand_conv").input
        self._whole = keras.Model(begin, end)
        self._inside = keras.Model(begin, self._layer("depthwise_relu").output)

    def __call__(self, before: Floats) -> Floats:
        return _answers(self._whole, before)

    def inside(self, before: Floats) -> Floats:
        """Return what the projection is given."""
        return _answers(self._inside, before)

    def give(
        self, student: Keras, kept: Sequence[int], projection: Doubles, answer: Doubles, level: Doubles
    ) -> None:
        """Put the kept channels and the new projection into a student's block."""

        def of(part: str) -> Keras:
            return student.get_layer(f"{self._name}_{part}")

        for part in (*EXPANSION[:2], *DEPTHWISE[:2]):
            axis = 2 if part == "depthwise_conv" else -1
            values = self._layer(part).get_weights()
            of(part).set_weights([np.take(value, kept, axis) for value in values])
        mean, variance = answer.mean(axis=0), answer.var(axis=0)
        of("project_conv").set_weights([projection[None, None]])
        of("project_norm").set_weights([np.sqrt(variance + EPSILON), mean + level, mean, variance])

    def _layer(self, part: str) -> Keras:
        return self._teacher.get_layer(f"{self._name}_{part}")


def _answers(model: Keras, given: Floats) -> Floats:
    batches = range(0, len(given), BATCH)
    return np.concatenate([np.asarray(model(given[at : at + BATCH], training=False)) for at in batches])


def _places(maps: Floats) -> Doubles:
    return maps.reshape(-1, maps.shape[-1]).astype(np.float64)
