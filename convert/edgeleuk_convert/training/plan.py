"""How a network is to be trained, and what is told meanwhile."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Literal

from edgeleuk.bundle.manifest import InputContract  # noqa: TC001 - msgspec reads the annotation
from edgeleuk.errors import UsageError
from edgeleuk_convert.networks.architectures import ARCHITECTURES, Architecture, architecture
from edgeleuk_convert.training.augmentation import Augmentation

# Of more than these, support vectors themselves are hardly larger.
MOST_LANDMARKS = 4096


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """Everything that decides what a training gives.

    Attributes
    ----------
    architecture : str
        A key of `ARCHITECTURES`.
    epochs, batch : int
        An epoch draws as many cells as there are training images.
    learning_rate, weight_decay : float
        Peak of the cosine schedule, after `warmup_epochs` of rise; AdamW's decay of kernels.
    average_decay : float
        Of the running average of the weights, which is what is kept.
    label_smoothing, dropout : float
    patience : int
        Epochs without a better inner AUROC after which it stops early.
    seed : int
        Of weights, batches and augmentation.
    folds, fold, split_seed : int
        Fold `fold` of the `folds` that `split_seed` gives is held out for evaluation. Another `seed`
        leaves the folds as they are, so that seeds can be compared.
    held_out : tuple of str
        Subjects to hold out instead of a fold. `split_seed` then decides the inner groups alone.
    calibrated : bool
        Train twice: first without some of the groups, from which temperature, bias, threshold and band come,
        then with all. Otherwise once, and the logit means what it says, the threshold is one half.
    forest : bool
        Let a forest on 14 plain numbers of the cell join the network, where there is a calibration to weigh
        them by.
    sensitivity : float
        Share of the held-out blasts that the threshold calls so; each subject counts for at most
        `subject_cap` cells.
    subject_cap : int
        A subject of more cells than this is drawn as often as one of this many.
    size_balanced : float
        0 to 1: how far the sampling takes the size cue away.
    mixed_precision : bool
        Compute in bfloat16.
    freeze_epochs : int
        Epochs for which a pretrained backbone stays as it is; the new layers are trained alone.
    backbone_learning_rate_factor : float
        Of a pretrained backbone's learning rate.
    teacher : str
        What a network that is taught by another learns to see; otherwise what its architecture says.
    landmarks : int
        Of a network that is taken as it is: so many cells answer for all support vectors, with a tenth of
        their numbers. 0 keeps the support vectors.
    input : InputContract, optional
        Otherwise what the architecture is made for: see `contract`.
    augmentation : Augmentation
    """

    architecture: str = "resnet"
    epochs: int = 10
    batch: int = 32
    learning_rate: float = 2e-3
    weight_decay: float = 0.02
    warmup_epochs: float = 2.0
    average_decay: float = 0.995
    label_smoothing: float = 0.05
    dropout: float = 0.2
    patience: int = 20
    seed: int = 0
    folds: int = 5
    fold: int = 0
    split_seed: int = 0
    held_out: tuple[str, ...] = ()
    calibrated: bool = True
    forest: bool = True
    sensitivity: float = 0.9
    subject_cap: int = 40
    size_balanced: float = 0.0
    mixed_precision: bool = False
    freeze_epochs: int = 0
    backbone_learning_rate_factor: float = 1.0
    teacher: str = ""
    landmarks: int = 0
    input: InputContract | None = None
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        entry = architecture(self.architecture)
        self._require_teacher(entry)
        for name, low, high in (
            ("epochs", 1, 10_000),
            ("batch", 2, 4096),
            ("learning_rate", 1e-8, 10),
            ("weight_decay", 0, 1e30),
            ("warmup_epochs", 0, 10_000),
            ("patience", 1, 10_000),
            ("folds", 2, 100),
            ("fold", 0, self.folds - 1),
            ("seed", 0, 2**32 - 1),
            ("split_seed", 0, 2**32 - 1),
            ("sensitivity", 0.5, 0.999),
            ("subject_cap", 1, 1_000_000),
            ("size_balanced", 0, 1),
            ("average_decay", 0, 0.999999),
            ("label_smoothing", 0, 0.5),
            ("dropout", 0, 0.9),
            # What is not pretrained has nothing to freeze or to slow down.
            ("freeze_epochs", 0, self.epochs if entry.pretrained else 0),
            ("backbone_learning_rate_factor", 1e-4 if entry.pretrained else 1, 1),
            ("landmarks", 0, MOST_LANDMARKS if entry.support_vectors else 0),
        ):
            if not low <= getattr(self, name) <= high:
                raise UsageError(
                    f"{name} is out of range", got=getattr(self, name), allowed=f"{low} to {high}"
                )

    def _require_teacher(self, entry: Architecture) -> None:
        """Take the architecture's own teacher where none is named; refuse one that cannot teach."""
        if not self.teacher:
            object.__setattr__(self, "teacher", entry.teacher)
            return
        if not entry.teacher:
            raise UsageError(
                f"{self.architecture} is not taught by another network",
                got=f"teacher {self.teacher}",
                cure="leave out --teacher, or train with --architecture student",
            )
        able = [name for name, one in ARCHITECTURES.items() if one.support_vectors and not one.teacher]
        if self.teacher not in able:
            raise UsageError("a network that cannot teach", got=self.teacher, allowed=", ".join(able))

    @property
    def contract(self) -> InputContract:
        """How crops become the network's input."""
        return self.input or architecture(self.architecture).default_input()

    def flat(self) -> dict[str, str | int | float | bool | tuple[str, ...] | None]:
        """Return every setting under one level of names, as the record keeps them."""
        flat = {key: value for key, value in asdict(self).items() if key not in ("input", "augmentation")}
        # As records and checkpoints had it before there were teachers, and landmarks.
        for key in ("teacher", "landmarks"):
            if not flat[key]:
                del flat[key]
        return flat | {f"augmentation_{key}": value for key, value in asdict(self.augmentation).items()}


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """Where a training stands; `validation_auroc` is that of the last finished epoch."""

    stage: Literal["read", "prepare", "look", "front", "distil", "train", "inner", "final"]
    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float | None = None
    validation_auroc: float | None = None
    seconds_left: float | None = None
