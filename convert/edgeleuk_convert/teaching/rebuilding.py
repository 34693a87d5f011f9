"""New heads and a bundle's unchanged trunk become one bundle, on any machine that runs bundles."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from edgeleuk.bundle.checking import require_fitting_heads, require_plausible
from edgeleuk.bundle.contents import Bundle
from edgeleuk.bundle.features import encode_features
from edgeleuk.bundle.golden import decode_golden
from edgeleuk.bundle.heads import encode_head
from edgeleuk.bundle.manifest import (
    BLAST,
    CARD,
    FEATURES,
    FOREST,
    GOLDEN,
    KIND,
    LABELS,
    REFERENCE,
    SCHEMA_VERSION,
    SUPPORT,
    VALIDATION,
)
from edgeleuk.bundle.reading import decode_manifest
from edgeleuk.bundle.reference import decode_reference
from edgeleuk.bundle.writing import describe_members
from edgeleuk.classifier.classifier import bundle_rules
from edgeleuk.classifier.golden_answers import golden_anew
from edgeleuk.io.console import printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeleuk.bundle.descent import Taught
    from edgeleuk.bundle.features import FeatureStatistics
    from edgeleuk.bundle.heads import KernelHead
    from edgeleuk.bundle.manifest import (
        Envelope,
        KindContract,
        Manifest,
        OutOfDistribution,
        OutputContract,
    )

# Begins the headings of a card's figures; see `edgeleuk_convert.bundling.model_card`.
ACCURACY, _WHOSE = "Accuracy", ": figures of "


@dataclass(frozen=True, slots=True, eq=False)
class TaughtHeads:
    """What a bundle judges the trunk's features by from now on.

    Attributes
    ----------
    output : OutputContract
        Its `forest_weight` is 0 where a head for blasts is new.
    envelope : Envelope
    gate : OutOfDistribution or None
        None: no check of colours, sharpness and features.
    statistics : FeatureStatistics or None
        Where the gate has a limit for features; None keeps the parent's.
    blast, kind : KernelHead or None
        None keeps what the parent has: support vectors, forest, head, or nothing.
    kind_contract : KindContract or None
        With a new head for kinds, or for the parent's; None keeps the parent's.
    reference : bytes or None
        ``reference.npz``; None keeps the parent's.
    validation : mapping of str to object
        ``validation.json``.
    subjects : tuple of str
        Of the labels, besides those that trained the parent.
    """

    output: OutputContract
    envelope: Envelope
    gate: OutOfDistribution | None
    statistics: FeatureStatistics | None
    blast: KernelHead | None
    kind: KernelHead | None
    kind_contract: KindContract | None
    reference: bytes | None
    validation: Mapping[str, object]
    subjects: tuple[str, ...] = ()


def rebuilt(
    bundle: Bundle, heads: TaughtHeads, taught: Taught, card_notes: Sequence[str], *, name: str | None = None
) -> tuple[Manifest, dict[str, bytes]]:
    """Put new heads on a bundle's trunk; its networks stay as they are, to the byte.

    Parameters
    ----------
    bundle : Bundle
        The parent.
    heads : TaughtHeads
    taught : Taught
        Is added to the line of descent.
    card_notes : sequence of str
        Figures for ``card.md``, a line each.
    name : str, optional
        Of the new bundle; by default the laboratory's.

    Returns
    -------
    (Manifest, dict of str to bytes)
        For `write_bundle`; the same arguments give the same bytes.

    Raises
    ------
    BundleError
        The heads do not fit the trunk, the contracts or each other.
    """
    name = name or taught.laboratory
    members = _members(bundle, heads)
    members[CARD] = _card(bundle, members, taught, card_notes, name).encode()
    parent = bundle.manifest
    subjects = dict.fromkeys((*parent.provenance.training_subjects, *heads.subjects))
    manifest = msgspec.structs.replace(
        parent,
        schema_version=SCHEMA_VERSION,
        name=name,
        output=heads.output,
        envelope=heads.envelope,
        gate=heads.gate,
        kind=heads.kind_contract or parent.kind,
        provenance=msgspec.structs.replace(parent.provenance, training_subjects=tuple(subjects)),
        descent=(*parent.descent, taught),
    )
    require_fitting_heads(manifest, members, name, decode_golden(bundle.members[GOLDEN]))
    rules = bundle_rules(Bundle(bundle.path, bundle.sha256, manifest, members))
    members[GOLDEN] = golden_anew(bundle, members, rules)
    manifest = msgspec.structs.replace(manifest, members=describe_members(members))
    # What is replaced in a struct is not looked at; what is read is.
    decode_manifest(msgspec.json.encode(manifest), Path(name))
    require_plausible(manifest, members, name)
    return manifest, members


def _members(bundle: Bundle, heads: TaughtHeads) -> dict[str, bytes]:
    """Return all members but the golden vectors and the card, which hang on the others."""
    members = dict(bundle.members)
    if heads.blast is not None:
        members.pop(SUPPORT, None)
        members[BLAST] = encode_head(heads.blast)
    if not heads.output.forest_weight:
        members.pop(FOREST, None)
    if heads.kind is not None:
        members[KIND] = encode_head(heads.kind)
    if heads.statistics is not None:
        members[FEATURES] = encode_features(heads.statistics)
    if heads.gate is None or heads.gate.features is None:
        members.pop(FEATURES, None)
    if heads.reference is not None:
        members[REFERENCE] = heads.reference
    members[LABELS] = msgspec.json.encode(
        {"negative": heads.output.negative_label, "positive": heads.output.positive_label}
    )
    members[VALIDATION] = msgspec.json.format(msgspec.json.encode(heads.validation), indent=1)
    return members


def parents_figures(card: str, taught: Taught) -> str:
    """Say under each heading of a parent's figures whose they are, and where those of the taught bundle are.

    Examples
    --------
    >>> from edgeleuk.bundle.descent import Taught
    >>> taught = Taught(parent_sha256="ab" * 32, parent_name="default", laboratory="lab", heads=("kind",),
    ...     labels_sha256="cd" * 32, cells=40, slides=4, choice="a new head")
    >>> print(parents_figures("## Accuracy on the held-out subjects", taught))
    ## Accuracy on the held-out subjects: figures of `default`
    <BLANKLINE>
    These are the parent's figures, on cells of its own. Its head for blasts is still in use.
    """
    if "blast" in taught.heads:
        blasts = "The head for blasts was taught since: its figures stand below."
    else:
        blasts = "Its head for blasts is still in use."
    lines = []
    for line in card.split("\n"):
        lines.append(line)
        # A heading that says already whose they are is an ancestor's.
        if line.startswith(f"## {ACCURACY}") and _WHOSE not in line:
            lines[-1] += f"{_WHOSE}`{printable(taught.parent_name)}`"
            lines += ["", f"These are the parent's figures, on cells of its own. {blasts}"]
    return "\n".join(lines)


def _own_figures(taught: Taught, notes: Sequence[str]) -> list[str]:
    """Return the section of a taught bundle's own figures; none of nothing."""
    if not notes:
        return []
    return [
        "",
        f"## {ACCURACY} in {printable(taught.laboratory)}",
        "",
        f"These are the figures of this bundle, on {taught.cells} cells of {taught.slides} slides of that"
        " laboratory. Each cell was judged by what other slides had taught.",
        "",
        *(f"- {printable(note.strip())}" for note in notes),
    ]


def _card(
    bundle: Bundle, members: Mapping[str, bytes], taught: Taught, notes: Sequence[str], name: str
) -> str:
    """Add to the parent's card by whom and with what it was taught; say whose figures are whose."""
    title, _, rest = bundle.members[CARD].decode("utf-8", "replace").partition("\n")
    again = " again" if bundle.manifest.descent else ""
    facts = [
        f"parent: {taught.parent_name}, sha256 {taught.parent_sha256}",
        f"laboratory: {taught.laboratory}",
        f"labels: {taught.cells} cells of {taught.slides} slides, sha256 {taught.labels_sha256}",
        f"choice: {taught.choice}",
        f"new heads: {', '.join(taught.heads) or 'none'}",
        *((f"taught at: {taught.at}",) if taught.at else ()),
        *(("**forced: not shown to be better than its parent**",) if taught.forced else ()),
    ]
    cited = []
    if REFERENCE in members and members[REFERENCE] != bundle.members.get(REFERENCE):
        reference = decode_reference(members[REFERENCE])
        cited = [
            "",
            f"It carries the features of {len(reference.features)} cells for teaching, from:",
            "",
            *(
                f"- {printable(source)}: {printable(citation)}"
                for source, citation in zip(reference.source_texts, reference.citations, strict=True)
            ),
        ]
    head = f"# {printable(name)}" if title.startswith("# ") else title
    return "\n".join(
        [
            head,
            parents_figures(rest, taught).rstrip("\n"),
            "",
            f"## Taught{again}",
            "",
            "The networks are the parent's. What is above tells of the parent, its accuracy too.",
            "",
            *(f"- {printable(fact)}" for fact in facts),
            *_own_figures(taught, notes),
            *cited,
            "",
        ]
    )
