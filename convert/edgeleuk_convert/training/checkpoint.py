"""What a training writes while it runs: its checkpoint, its log, its history plot."""

from __future__ import annotations

import csv
import hashlib
import io
import shutil
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from edgeleuk.errors import IntegrityError, UsageError
from edgeleuk_convert.environment import out_errors_of, replace_file

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from edgeleuk.bundle.manifest import InputContract
    from edgeleuk_convert.dataset.splits import Split


@dataclass(frozen=True, slots=True)
class Row:
    """One epoch, as the log has it; validation is on the inner held-out groups, None without any."""

    epoch: int
    learning_rate: float
    loss: float
    validation_loss: float | None
    validation_auroc: float | None
    seconds: float


class Checkpoint:
    """``NAME.checkpoint/``: all that is needed to go on after a kill.

    Parameters
    ----------
    out : Path
        The network's file to be, ``NAME.keras``.
    identity : str
        `fingerprint` of settings and data; a checkpoint of another training is refused.
    """

    def __init__(self, out: Path, identity: str) -> None:
        self.out = out
        self.folder = out.with_suffix(".checkpoint")
        self.identity = identity

    @property
    def file(self) -> Path:
        """The one file in the folder; it is replaced in one step."""
        return self.folder / "state.npz"

    def restore(self, variables: Sequence[Any]) -> tuple[list[Row], list[Any]]:
        """Put the saved state into `variables`; return the log so far and the best average so far."""
        if not self.file.exists():
            return [], []
        try:
            with np.load(self.file) as saved:
                meta = msgspec.json.decode(saved["meta"].tobytes(), type=dict[str, Any])
                values = [saved[f"state_{index}"] for index in range(len(variables))]
                best = [saved[f"best_{index}"] for index in range(int(meta["best"]))]
        except Exception as error:
            raise IntegrityError(
                f"{self.file} is damaged", got=error, cure="delete the folder to begin again"
            ) from error
        if meta["identity"] != self.identity:
            raise UsageError(
                f"{self.folder} belongs to a training with other settings or data",
                cure="delete it, or give another --out",
            )
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        return [Row(**row) for row in meta["rows"]], best

    def save(self, variables: Sequence[Any], rows: Sequence[Row], best: Sequence[Any]) -> None:
        """Write the state beside the old one, then put it in its place."""
        meta = {"identity": self.identity, "rows": [asdict(row) for row in rows], "best": len(best)}
        arrays = {f"state_{index}": np.asarray(variable) for index, variable in enumerate(variables)}
        arrays |= {f"best_{index}": np.asarray(value) for index, value in enumerate(best)}
        content = io.BytesIO()
        np.savez(content, meta=np.frombuffer(msgspec.json.encode(meta), np.uint8), **arrays)  # type: ignore[arg-type]
        with out_errors_of(self.folder):
            self.folder.mkdir(exist_ok=True)
        try:
            replace_file(self.file, content.getvalue())
        finally:
            # Nothing half-written stays, nor a folder for it.
            if not self.file.exists():
                shutil.rmtree(self.folder, ignore_errors=True)

    def remove(self) -> None:
        """Delete the folder: the training is done."""
        shutil.rmtree(self.folder, ignore_errors=True)


def fingerprint(settings: Mapping[str, object], contract: InputContract, split: Split) -> str:
    """Hash all that decides a training: its settings and the cells of each side, in order."""
    digest = hashlib.sha256(msgspec.json.encode([sorted(settings.items()), contract]))
    for side in (split.train, split.validation, split.test):
        digest.update(b"|" + b"".join(bytes.fromhex(cell.sha256) for cell in side))
    return digest.hexdigest()


def log_path(out: Path) -> Path:
    """Return where the log of a network lies: ``resnet.keras`` -> ``resnet.log.csv``."""
    return out.with_suffix(".log.csv")


def history_path(out: Path) -> Path:
    """Return where the plot of a network lies: ``resnet.keras`` -> ``resnet.history.png``."""
    return out.with_suffix(".history.png")


def settings_path(out: Path) -> Path:
    """Return where the settings of a network lie: ``resnet.keras`` -> ``resnet.training.toml``."""
    return out.with_suffix(".training.toml")


def write_log(rows: Sequence[Row], out: Path) -> None:
    """Write the log of all epochs so far."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [f.name for f in fields(Row)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {key: value if key == "epoch" else _short(value) for key, value in asdict(row).items()}
        for row in rows
    )
    replace_file(log_path(out), text.getvalue().encode())


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def write_history(rows: Sequence[Row], out: Path, kept: int, *, loss: str = "log loss") -> None:
    """Draw the loss over the epochs, and inner AUROC and the kept epoch where groups are held out."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    judged = all(row.validation_auroc is not None for row in rows)
    figure = Figure(figsize=(9 if judged else 4.5, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    left, *others = figure.subplots(1, 2 if judged else 1, squeeze=False)[0]
    epochs = [row.epoch for row in rows]
    left.plot(epochs, [row.loss for row in rows], label="training")
    left.set(xlabel="epoch", ylabel=loss)
    if judged:
        (right,) = others
        left.plot(epochs, [row.validation_loss for row in rows], label="inner held-out groups")
        right.plot(epochs, [row.validation_auroc for row in rows], color="C1")
        right.axvline(kept, color="grey", label=f"kept: epoch {kept}")
        right.set(xlabel="epoch", ylabel="AUROC, inner held-out groups")
        right.legend()
    left.legend()
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110)
    replace_file(history_path(out), content.getvalue())
