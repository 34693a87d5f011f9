"""A session as FHIR: a preliminary Observation of counts, one of each kind of cells, and the Device.

No patient, and no code that would mean anything for one. Plain dictionaries in the structure of HL7 FHIR R4
(4.0.1), which R4B (4.3.0) shares for these resources: https://hl7.org/fhir/R4/observation.html. Most codes
are our own, in a system that resolves to nothing. Kinds of cells also have those of LOINC and SNOMED CT that
could be verified.
"""

from __future__ import annotations

import json
import sys
import uuid
from html import escape
from typing import TYPE_CHECKING, Any

from edgeleuk.errors import SessionError
from edgeleuk.results import DECISIONS
from edgeleuk.results.kinds import BLAST, Kind
from edgeleuk.session.report import session_report
from edgeleuk.session.writing import whole_file
from edgeleuk.version import RESEARCH_USE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from edgeleuk.session.report import SessionReport

    Facts = Mapping[str, Any]

# RFC 2606: a name that never resolves, so that nobody takes it for a published terminology.
CODE_SYSTEM = "https://edgeleuk.invalid/fhir/CodeSystem/session"
UCUM = "http://unitsofmeasure.org"
LOINC, SNOMED_CT = "http://loinc.org", "http://snomed.info/sct"
# Code -> what it is called.
CODES = {
    "differential-count": "Automated count of white cells by an image classifier, for research use only",
    "cells": "Cells counted, each once",
    "blast": "Cells called blast",
    "normal": "Cells called normal",
    "other": "Cells of other kinds",
    "uncertain": "Cells called uncertain",
    "blast-share": "Share of cells called blast among those called blast or normal",
    "blast-share-interval": "Exact 95 % interval of that share",
    "corrected-share": "Share of blasts corrected for the classifier's known error",
    "corrected-share-interval": "95 % interval of the corrected share",
    "bundle-sha256": "SHA-256 of the classifier",
    "chain-head": "Last link of the session's hash chain",
    "simulated": "The pictures were drawn, not photographed",
}
# Those of the Observations of kinds.
KIND_CODES = {
    "kind-cells": "Cells called this kind",
    "white-cells": "Nucleated white cells that were called, of which this is a share",
    "kind-interval": "95 % interval of that share, simultaneous for all kinds",
    "blast-of-white-interval": "Exact 95 % interval of that share alone",
    "corrected-kind-share": "That share, corrected for known confusions of kinds",
    "corrected-kind-share-interval": "95 % interval of the corrected share",
    "erythroblast-interval": "Exact 95 % interval of that ratio",
}
# LOINC without a method: a classifier of pictures is neither a manual count nor a flow cytometer. Codes and
# names as in the panel https://loinc.org/24318-8; for 19048-8 see https://loinc.org/58413-6.
_LOINC = {
    BLAST: ("26446-5", "Blasts/100 leukocytes in Blood"),
    Kind.IMMATURE_GRANULOCYTE.value: ("38518-7", "Immature granulocytes/100 leukocytes in Blood"),
    Kind.BAND.value: ("26508-2", "Band form neutrophils/100 leukocytes in Blood"),
    Kind.NEUTROPHIL.value: ("26511-6", "Neutrophils/100 leukocytes in Blood"),
    Kind.EOSINOPHIL.value: ("26450-7", "Eosinophils/100 leukocytes in Blood"),
    Kind.BASOPHIL.value: ("30180-4", "Basophils/100 leukocytes in Blood"),
    Kind.MONOCYTE.value: ("26485-3", "Monocytes/100 leukocytes in Blood"),
    Kind.LYMPHOCYTE.value: ("26478-8", "Lymphocytes/100 leukocytes in Blood"),
    Kind.ERYTHROBLAST.value: ("19048-8", "Nucleated erythrocytes/100 leukocytes [Ratio] in Blood"),
}
# Where bands are counted apart.
_LOINC_SEGMENTED = ("26505-8", "Segmented neutrophils/100 leukocytes in Blood")
_SNOMED_CT = {
    Kind.NEUTROPHIL.value: ("271035003", "Neutrophil percent differential count (procedure)"),
    Kind.EOSINOPHIL.value: ("310540006", "Eosinophil percent differential count (procedure)"),
    Kind.BASOPHIL.value: ("271038001", "Basophil percent differential count (procedure)"),
    Kind.MONOCYTE.value: ("271037006", "Monocyte percent differential count (procedure)"),
    Kind.LYMPHOCYTE.value: ("271036002", "Lymphocyte percent differential count (procedure)"),
}
SPECIMEN = "LOINC's codes are those of blood; which specimen the slide shows is not recorded."
METHOD = "Classification of pictures of a smear, each cell counted once"


def export_fhir(session: Path, out: Path | None = None) -> None:
    """Write a session as a FHIR Bundle, as JSON; the same session gives the same bytes.

    Raises
    ------
    UsageError, SessionError
        See `read_session` and `whole_file`; or a record was changed.
    """
    report = session_report(session)
    if report.chain is not None and report.chain.broken:
        raise SessionError(
            f"{session} is not exported, its records were changed",
            got=report.chain.broken,
            cure="restore it from a copy",
        )
    text = json.dumps(fhir_bundle(report), indent=1, allow_nan=False) + "\n"
    if out is None:
        sys.stdout.write(text)
        return
    with whole_file(out, session) as file:
        file.write(text)


def fhir_bundle(report: SessionReport) -> dict[str, Any]:
    """Return the Bundle of a session's report."""
    facts = report.to_json()
    chain = facts["chain"] or {}
    about = f"{facts['bundle_sha256']} {chain.get('head')} {facts['first_frame']}"
    name = {kind: str(uuid.uuid5(uuid.NAMESPACE_URL, f"edgeleuk {kind} {about}")) for kind in _KINDS}
    device = f"urn:uuid:{name['Device']}"
    members = [
        {"id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"edgeleuk {kind} {about}")), **of_kind}
        for kind, of_kind in _kinds(facts, device)
    ]
    observation = _observation(facts, name["Observation"], device)
    if members:
        observation["hasMember"] = [{"reference": f"urn:uuid:{one['id']}"} for one in members]
    return {
        "resourceType": "Bundle",
        "id": name["Bundle"],
        "type": "collection",
        **({"timestamp": facts["last_frame"]} if facts["last_frame"] else {}),
        "entry": [
            {"fullUrl": f"urn:uuid:{resource['id']}", "resource": resource}
            for resource in (observation, _device(facts, name["Device"]), *members)
        ],
    }


_KINDS = ("Bundle", "Observation", "Device")


def _observation(facts: Facts, identity: str, device: str) -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "id": identity,
        "text": _narrative(RESEARCH_USE),
        "status": "preliminary",
        "code": _concept("differential-count"),
        **_period(facts),
        "device": {"reference": device},
        "note": [{"text": RESEARCH_USE}],
        "component": _components(facts),
    }


def _period(facts: Facts) -> dict[str, Any]:
    if not facts["first_frame"]:
        return {}
    return {"effectivePeriod": {"start": facts["first_frame"], "end": facts["last_frame"]}}


def _kinds(facts: Facts, device: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the Observation of each kind of cells, without its id; none where no kinds are told apart."""
    counted = facts["white_cells"]
    if counted is None:
        return
    white = counted["white_cells"]
    corrected = (facts["corrected_white_cells"] or {"kinds": {}})["kinds"]
    for kind, of in white["kinds"].items():
        value = {"dataAbsentReason": {"text": white["reason"]}}
        further = []
        if of["share"] is not None:
            value = {"valueQuantity": _percent(of["share"])}
            further.append(_component("kind-interval", valueRange=_ends(of)))
            if kind == BLAST:
                alone = counted["blasts_of_white_cells"]
                further.append(_component("blast-of-white-interval", valueRange=_ends(alone)))
        if kind in corrected:
            further += _share("corrected-kind-share", corrected[kind])
        coded = _kind_concept(kind, bands=Kind.BAND.value in white["kinds"])
        yield kind, _of_kind(facts, device, coded, value, of["count"], further)
    erythroblasts = counted["erythroblasts"]
    value, further = {"dataAbsentReason": {"text": white["reason"]}}, []
    if erythroblasts["per_100_white_cells"] is not None:
        value = {"valueQuantity": _per_100(erythroblasts["per_100_white_cells"])}
        ends = {end: _per_100(erythroblasts[end]) for end in ("low", "high")}
        further = [_component("erythroblast-interval", valueRange=ends)]
    coded = _kind_concept(Kind.ERYTHROBLAST.value, bands=False)
    yield Kind.ERYTHROBLAST.value, _of_kind(facts, device, coded, value, erythroblasts["count"], further)


def _of_kind(
    facts: Facts,
    device: str,
    code: Facts,
    value: Facts,
    count: int,
    further: list[dict[str, Any]],
) -> dict[str, Any]:
    n = facts["white_cells"]["white_cells"]["n"]
    return {
        "resourceType": "Observation",
        "text": _narrative(f"{code['text']}. {RESEARCH_USE}"),
        "status": "preliminary",
        "code": code,
        **_period(facts),
        **value,
        "note": [{"text": RESEARCH_USE}, {"text": SPECIMEN}],
        "method": {"text": METHOD},
        "device": {"reference": device},
        "component": [
            _component("kind-cells", valueInteger=count),
            _component("white-cells", valueInteger=n),
            *further,
        ],
    }


def _kind_concept(kind: str, *, bands: bool) -> dict[str, Any]:
    """Code a share of the white cells; a neutrophil is a segmented one where bands are counted apart."""
    text = f"{kind} cells per 100 nucleated white cells"
    coding = [{"system": CODE_SYSTEM, "code": f"share-{kind.replace(' ', '-')}", "display": text}]
    segmented = bands and kind == Kind.NEUTROPHIL.value
    loinc = _LOINC_SEGMENTED if segmented else _LOINC.get(kind)
    snomed = None if segmented else _SNOMED_CT.get(kind)
    for system, coded in ((LOINC, loinc), (SNOMED_CT, snomed)):
        if coded is not None:
            coding.append({"system": system, "code": coded[0], "display": coded[1]})
    return {"coding": coding, "text": text}


def _components(facts: Facts) -> list[dict[str, Any]]:
    cells, share, corrected = facts["cells"], facts["blast_share"], facts["corrected_blast_share"]
    found = [
        _component("cells", valueInteger=cells["unique"]),
        *(_component(name, valueInteger=cells[name]) for name in DECISIONS),
        *_share("blast-share", share),
        *_share("corrected-share", corrected),
        _component("simulated", valueBoolean=facts["simulated"]),
    ]
    if facts["bundle_sha256"]:
        found.append(_component("bundle-sha256", valueString=facts["bundle_sha256"]))
    if facts["chain"]:
        found.append(_component("chain-head", valueString=facts["chain"]["head"]))
    return found


def _share(code: str, share: Facts) -> list[dict[str, Any]]:
    if share["share"] is None:
        return [_component(code, dataAbsentReason={"text": share["reason"]})]
    return [
        _component(code, valueQuantity=_percent(share["share"])),
        _component(f"{code}-interval", valueRange=_ends(share)),
    ]


def _ends(share: Facts) -> dict[str, Any]:
    return {end: _percent(share[end]) for end in ("low", "high")}


def _device(facts: Facts, identity: str) -> dict[str, Any]:
    versions = {"software": facts["edgeleuk"], "classifier, SHA-256": facts["bundle_sha256"]}
    return {
        "resourceType": "Device",
        "id": identity,
        "text": _narrative(f"edgeleuk {facts['edgeleuk']}. {RESEARCH_USE}"),
        "deviceName": [{"name": "edgeleuk", "type": "user-friendly-name"}],
        "version": [{"type": {"text": kind}, "value": value} for kind, value in versions.items() if value],
        "note": [{"text": RESEARCH_USE}],
    }


def _component(code: str, **value: object) -> dict[str, Any]:
    return {"code": _concept(code), **value}


def _concept(code: str) -> dict[str, Any]:
    display = CODES.get(code) or KIND_CODES[code]
    return {"coding": [{"system": CODE_SYSTEM, "code": code, "display": display}], "text": display}


def _percent(share: float) -> dict[str, object]:
    return {"value": round(100 * share, 4), "unit": "%", "system": UCUM, "code": "%"}


def _per_100(ratio: float) -> dict[str, object]:
    return {"value": round(ratio, 4), "unit": "/100 white cells", "system": UCUM, "code": "/100{WBCs}"}


def _narrative(text: str) -> dict[str, str]:
    return {"status": "generated", "div": f'<div xmlns="http://www.w3.org/1999/xhtml">{escape(text)}</div>'}
