"""``edgeleuk classify DIR``: whole archives of pictures, over many processes, resumable.

::

    find -> what is done already -> batches -> workers (any number, anywhere) -> lines, in the order of the
    pictures -> file -> summary

The lines are written in the order of the pictures, whoever is done first: so the file is the same, byte for
byte, whatever the number of workers, and after any number of kills.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections import Counter, deque
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET, UnsetType

from edgeleuk.batch.images import ArchiveLine, cell_text
from edgeleuk.batch.process_pool import OwnProcess, ProcessWorkers, Workers
from edgeleuk.batch.results_file import Entry, Ledger, entry_of, open_ledger, recorded_runtime
from edgeleuk.batch.save import AnnotatedPictures
from edgeleuk.batch.worker import Picture, Standard
from edgeleuk.bench.choosing import Held, settled
from edgeleuk.bundle.acceptance import refuse_rejected
from edgeleuk.bundle.known_error import known_error, known_kinds
from edgeleuk.bundle.trusted import read_trusted_bundle
from edgeleuk.capture.base import PICTURE_SUFFIXES, natural_key
from edgeleuk.counting.intervals import (
    called_of,
    counting_facts,
    counting_text,
    share_text,
    way_on_text,
)
from edgeleuk.errors import DataRefusedError, UsageError
from edgeleuk.io.console import printable, progress_bar, say
from edgeleuk.io.pictures.decoding import TOO_LARGE
from edgeleuk.io.pictures.headers import NOT_READ
from edgeleuk.results import cells_text, counted_of
from edgeleuk.results.structs import (
    BlastShare,
    CellCounts,
    CorrectedShare,
    CorrectedWhiteCells,
    CountPrecision,
    Differential,
    DifferentialCount,
    Printed,
)
from edgeleuk.version import RESEARCH_USE, __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from edgeleuk.bundle.contents import Bundle
    from edgeleuk.errors import EdgeleukError
    from edgeleuk.io.settings import RunSettings

# What one task holds: enough that handing it over costs nothing, little enough to be lost.
BATCH_PICTURES = 16
BATCH_BYTES = 4_000_000
# Unreadable pictures that the text names; the JSON and the file name all.
MOST_NAMED = 10


class PictureCounts(Printed, frozen=True, kw_only=True):
    """The pictures of an archive: ``found = classified + resumed``; some of them are unreadable."""

    found: int
    classified: int
    resumed: int
    unreadable: int


class UnreadablePicture(Printed, frozen=True, kw_only=True):
    """A picture that could not be read, and why."""

    file: str
    error: str


class ArchiveResult(Printed, frozen=True, kw_only=True):
    """What ``edgeleuk classify DIR --json`` prints.

    Attributes
    ----------
    precision, count_precision : CountPrecision
        Of the count. Of pictures without a folder ``precision`` is the network's: the longer name is plain.
    network_precision : str
        Of the network; each line has it as ``precision``.
    rejected : dict of str to int
        Why pictures were not worth judging.
    out : str or None
        Where the lines went.
    files : tuple of ArchiveLine
        The lines, where they went into no file.
    """

    schema_version: int = 1
    bundle: str
    bundle_sha256: str
    runtime: str
    network_precision: str
    precision: CountPrecision
    count_precision: CountPrecision
    pictures: PictureCounts
    unreadable: tuple[UnreadablePicture, ...]
    rejected: dict[str, int]
    cells: CellCounts
    blast_share: BlastShare
    differential: Differential
    corrected_blast_share: CorrectedShare
    white_cells: DifferentialCount | None = None
    corrected_white_cells: CorrectedWhiteCells | None = None
    research_use: str = RESEARCH_USE
    out: str | None = None
    files: tuple[ArchiveLine, ...] | UnsetType = UNSET


def classify_archive(
    paths: Sequence[Path],
    bundle: str,
    settings: RunSettings,
    *,
    jobs: int | None = None,
    out: Path | None = None,
    scheduler: str | None = None,
    save: Path | None = None,
) -> tuple[ArchiveResult, EdgeleukError | None]:
    """Classify every white cell of every picture in folders, and in folders inside them.

    Parameters
    ----------
    paths : sequence of Path
        Folders and pictures.
    bundle : str
    settings : RunSettings
    jobs : int, optional
        Worker processes, each with a network of ``settings.threads`` threads; by default one for each core.
    out : Path, optional
        JSON lines, one a picture; pictures that stand there already are not judged again.
    scheduler : str, optional
        ``tcp://HOST:PORT`` of a Dask cluster that does the work instead.
    save : Path, optional
        Folder for the annotated pictures; this process alone does the work then.

    Returns
    -------
    result : ArchiveResult
        With ``files`` where there is no `out`.
    error : DataRefusedError or None
        Not one picture could be read.

    Raises
    ------
    UsageError
        A path does not exist, `jobs` is out of range, or see `open_ledger` and `AnnotatedPictures`.
    DataRefusedError
        There is no picture at all.
    EdgeleukError
        See `open_tested_classifier` and `edgeleuk.batch.dask_cluster.ClusterWorkers`.
    """
    _require_workers(jobs, scheduler)
    opened = read_trusted_bundle(bundle)
    refuse_rejected(opened)
    pictures = _some_pictures(paths)
    # Chosen once, here: one runtime judges all pictures, whoever the workers are.
    held = _held(out)
    settings = settled(settings, opened, held)
    if held is None:
        # Else `open_ledger` says it better: by what the results were made with.
        opened.model_name(settings.runtime, settings.precision)
    standard = _standard(opened, settings)
    drawn = None if save is None else _drawn(save, pictures, paths)
    found: dict[str, Entry] = {}
    shown: list[ArchiveLine] = []
    with ExitStack() as stack:
        ledger = None if out is None else stack.enter_context(open_ledger(out, standard))
        missing = pictures if ledger is None else _not_done(pictures, ledger, found)
        resumed = len(found)
        if missing:
            make = partial(_workers, opened, standard, settings.threads, drawn)
            workers = stack.enter_context(make(jobs, scheduler, len(missing)))
            _judge_all(workers, missing, ledger, found, shown, len(pictures))
    if drawn is not None:
        drawn.tell()
    facts = _facts(opened, standard, pictures, found, resumed)
    result = msgspec.structs.replace(
        facts, out=None if out is None else str(out), files=tuple(shown) if out is None else UNSET
    )
    return result, _none_read(result)


def _require_workers(jobs: int | None, scheduler: str | None) -> None:
    if jobs is not None and not 1 <= jobs <= 256:
        raise UsageError("the number of jobs is out of range", got=jobs, allowed="1 to 256")
    if jobs is not None and scheduler is not None:
        raise UsageError("a cluster has its own workers", got="--jobs and --scheduler", cure="pass one")


def _some_pictures(paths: Sequence[Path]) -> list[Picture]:
    """Find pictures, at least one."""
    pictures = find_pictures(paths)
    if not pictures:
        raise DataRefusedError(
            "no pictures in " + ", ".join(map(str, paths)), allowed=" ".join(PICTURE_SUFFIXES)
        )
    return pictures


def _standard(bundle: Bundle, settings: RunSettings) -> Standard:
    return Standard(
        __version__,
        bundle.sha256,
        settings.runtime,
        settings.precision,
        settings.px_per_um,
        settings.abstain,
        settings.quality_check,
        settings.most_megapixels,
    )


def _drawn(save: Path, pictures: Sequence[Picture], paths: Sequence[Path]) -> AnnotatedPictures:
    files = [Path(picture.name) for picture in pictures if picture.error is None]
    return AnnotatedPictures(save, files, folders=[path for path in paths if path.is_dir()])


def _none_read(result: ArchiveResult) -> DataRefusedError | None:
    """Return the error of an archive of which not one picture could be read."""
    found = result.pictures.found
    if result.pictures.unreadable < found:
        return None
    first = result.unreadable[0]
    return DataRefusedError(
        f"none of the {found} pictures could be read",
        got=f"{first.file}: {first.error}",
        cure="check that they open in a picture viewer",
    )


def find_pictures(paths: Iterable[Path]) -> list[Picture]:
    """List the pictures of folders, and of folders inside them, in natural order, each once.

    Folders that were entered before are not entered again, so that links in a circle do no harm. Hidden files
    and folders are left out. What cannot be read is listed with its error.

    Raises
    ------
    UsageError
        One of the paths does not exist.
    """
    found: dict[str, Picture] = {}
    entered: set[tuple[int, int]] = set()
    for path in paths:
        if path.is_dir():
            for picture in _walk(path, entered):
                found.setdefault(picture.name, picture)
        elif path.exists():
            found.setdefault(str(path), Picture(str(path)))
        else:
            raise UsageError("there is no such file or folder", got=path)
    return list(found.values())


def archive_text(result: ArchiveResult) -> str:
    """Say what an archive came to."""
    pictures, cells = result.pictures, result.cells
    lines = [
        *(line for entry in result.files or () for line in cell_text(entry)),
        f"pictures  {pictures.found}: {pictures.classified} classified now, {pictures.resumed} stood"
        f" in the results, {pictures.unreadable} unreadable",
    ]
    if result.rejected:
        reasons = sorted(result.rejected.items(), key=lambda item: -item[1])
        lines.append("rejected  " + ", ".join(f"{count} {reason}" for reason, count in reasons))
    named = result.unreadable[:MOST_NAMED]
    lines += [f"unreadable {printable(entry.file)}: {printable(entry.error)}" for entry in named]
    if (rest := len(result.unreadable) - len(named)) > 0:
        lines.append(f"unreadable and {rest} more")
    all_cells = cells.blast + cells.normal + cells.other + cells.uncertain
    lines.append(f"cells     {all_cells}: {cells_text(cells.to_json())}")
    lines += way_on_text(cells.uncertain_by_reason)
    facts = result.to_json()
    lines += share_text(facts["blast_share"])
    # Reasons may be a bundle's own words.
    lines += map(printable, counting_text(facts))
    if result.out is not None:
        lines.append(f"results   {printable(result.out)}")
    return "\n".join([*lines, RESEARCH_USE])


def _held(out: Path | None) -> Held | None:
    """Return the runtime of results that are gone on with."""
    before = None if out is None else recorded_runtime(out)
    return None if before is None else Held(before, f"what stands in {out}")


def _walk(folder: Path, entered: set[tuple[int, int]]) -> Iterator[Picture]:
    try:
        status = folder.stat()
        if (status.st_dev, status.st_ino) in entered:
            return
        entered.add((status.st_dev, status.st_ino))
        inside = sorted(folder.iterdir(), key=natural_key)
    except OSError as error:
        yield Picture(str(folder), error=error.strerror)
        return
    for path in inside:
        if path.name.startswith("."):
            continue
        try:
            mode = path.stat().st_mode
        except OSError as error:
            # Such as a link that leads nowhere, or in a circle.
            if path.suffix.lower() in PICTURE_SUFFIXES:
                yield Picture(str(path), error=error.strerror)
            continue
        if stat.S_ISDIR(mode):
            yield from _walk(path, entered)
        elif stat.S_ISREG(mode) and path.suffix.lower() in PICTURE_SUFFIXES:
            yield Picture(str(path))
        elif stat.S_ISREG(mode) and (kind := NOT_READ.get(path.suffix.lower())) is not None:
            yield Picture(str(path), error=f"is a {kind} picture, which is not read")


def _not_done(pictures: Sequence[Picture], ledger: Ledger, found: dict[str, Entry]) -> list[Picture]:
    """Return the pictures that do not stand in the file, unchanged; the others go into `found`."""
    missing = []
    with progress_bar("looking at what is done") as report:
        for number, picture in enumerate(pictures, start=1):
            before = ledger.done.get(picture.name)
            # Another limit may let it pass.
            if before is not None and before.is_of(Path(picture.name)) and not _was_too_large(before.entry):
                found[picture.name] = before.entry
            else:
                missing.append(picture)
            report(number, len(pictures))
    return missing


def _was_too_large(entry: Entry) -> bool:
    return entry.error is not None and f"{TOO_LARGE}: " in entry.error


def _workers(
    bundle: Bundle,
    standard: Standard,
    threads: int,
    drawn: AnnotatedPictures | None,
    jobs: int | None,
    scheduler: str | None,
    pictures: int,
) -> Any:
    data = bundle.path.read_bytes()
    # Read a second time: it may have been replaced meanwhile.
    if hashlib.sha256(data).hexdigest() != bundle.sha256:
        raise UsageError(f"{bundle.path} was replaced just now", cure="run the same command again")
    if scheduler is not None:
        from edgeleuk.batch.dask_cluster import ClusterWorkers  # noqa: PLC0415 - needs an extra

        return ClusterWorkers(scheduler, data, standard, threads)
    if drawn is not None:
        return OwnProcess(data, standard, threads, on_picture=drawn.draw)
    cores = len(os.sched_getaffinity(0))
    return ProcessWorkers(min(jobs or cores, -(-pictures // BATCH_PICTURES)), data, standard, threads)


def _judge_all(
    workers: Workers,
    missing: Sequence[Picture],
    ledger: Ledger | None,
    found: dict[str, Entry],
    shown: list[ArchiveLine],
    total: int,
) -> None:
    try:
        with progress_bar("classifying") as report:
            for batch in _in_order(workers, _batches(missing)):
                if ledger is not None:
                    ledger.append(batch)
                for line in batch:
                    value = json.loads(line)
                    found[value["file"]] = entry_of(value)
                    if ledger is None and value["error"] is None:
                        shown.append(msgspec.convert(value, ArchiveLine))
                report(len(found), total)
    except KeyboardInterrupt:
        if ledger is not None:
            say(f"what is done stands in {printable(str(ledger.path))}; the same command goes on from there")
        raise


def _in_order(workers: Workers, batches: Iterable[Sequence[Picture]]) -> Iterator[list[str]]:
    """Yield the lines of each batch in turn, with enough begun to keep all workers busy."""
    begun: deque[tuple[Sequence[Picture], Any]] = deque()
    for batch in batches:
        begun.append((batch, workers.begin(batch)))
        if len(begun) > 2 * workers.slots:
            yield workers.finish(*begun.popleft())
    while begun:
        yield workers.finish(*begun.popleft())


def _batches(pictures: Iterable[Picture]) -> Iterator[list[Picture]]:
    batch: list[Picture] = []
    size = 0
    for picture in pictures:
        try:
            its_size = Path(picture.name).stat().st_size
        except OSError:
            its_size = 0
        if batch and (len(batch) == BATCH_PICTURES or size + its_size > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(picture)
        size += its_size
    if batch:
        yield batch


def _facts(
    bundle: Bundle,
    standard: Standard,
    pictures: Sequence[Picture],
    found: Mapping[str, Entry],
    resumed: int,
) -> ArchiveResult:
    unreadable = [
        {"file": picture.name, "error": entry.error}
        for picture in pictures
        if (entry := found[picture.name]).error is not None
    ]
    cells = [cell for picture in pictures for cell in found[picture.name].cells]
    counted = counted_of((decision, reason, kind) for decision, _, reason, kind in cells)
    error = known_error(bundle, bundle.model_name(standard.runtime, standard.precision))
    called = None
    if not isinstance(error, str):
        called = called_of(((probability, reason) for _, probability, reason, _ in cells), error.threshold)
    counting = counting_facts(counted, called, error, kinds=known_kinds(bundle))
    facts = {
        "bundle": bundle.manifest.name,
        "bundle_sha256": bundle.sha256,
        "runtime": standard.runtime,
        "network_precision": standard.precision,
        "pictures": {
            "found": len(pictures),
            "classified": len(pictures) - resumed,
            "resumed": resumed,
            "unreadable": len(unreadable),
        },
        "unreadable": unreadable,
        "rejected": dict(Counter(reason for picture in pictures if (reason := found[picture.name].rejected))),
        "cells": counted.to_json(),
        "blast_share": counted.share_facts(),
        **counting,
        "count_precision": counting["precision"],
    }
    return msgspec.convert(facts, ArchiveResult)
