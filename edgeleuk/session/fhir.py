"""A session as FHIR: one preliminary Observation of counts, and the Device that made it.

No patient, and no code that would mean anything for one. Plain dictionaries in the structure of HL7 FHIR R4
(4.0.1), which R4B (4.3.0) shares for these resources: https://hl7.org/fhir/R4/observation.html. Codes are our
own, in a system that resolves to nothing.
"""

from __future__ import annotations

import json
import sys
import uuid
from html import escape
from typing import TYPE_CHECKING, Any

from edgeleuk.errors import SessionError
from edgeleuk.results import DECISIONS
from edgeleuk.session.report import session_report
from edgeleuk.session.writing import whole_file
from edgeleuk.version import RESEARCH_USE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from edgeleuk.session.report import SessionReport

    Facts = Mapping[str, Any]

# RFC 2606: a name that never resolves, so that nobody takes it for a published terminology.
CODE_SYSTEM = "https://edgeleuk.invalid/fhir/CodeSystem/session"
UCUM = "http://unitsofmeasure.org"
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
    observation = _observation(facts, name["Observation"], f"urn:uuid:{name['Device']}")
    return {
        "resourceType": "Bundle",
        "id": name["Bundle"],
        "type": "collection",
        **({"timestamp": facts["last_frame"]} if facts["last_frame"] else {}),
        "entry": [
            {"fullUrl": f"urn:uuid:{resource['id']}", "resource": resource}
            for resource in (observation, _device(facts, name["Device"]))
        ],
    }


_KINDS = ("Bundle", "Observation", "Device")


def _observation(facts: Facts, identity: str, device: str) -> dict[str, Any]:
    period = {}
    if facts["first_frame"]:
        period = {"effectivePeriod": {"start": facts["first_frame"], "end": facts["last_frame"]}}
    return {
        "resourceType": "Observation",
        "id": identity,
        "text": _narrative(RESEARCH_USE),
        "status": "preliminary",
        "code": _concept("differential-count"),
        **period,
        "device": {"reference": device},
        "note": [{"text": RESEARCH_USE}],
        "component": _components(facts),
    }


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
    ends = {"low": _percent(share["low"]), "high": _percent(share["high"])}
    return [
        _component(code, valueQuantity=_percent(share["share"])),
        _component(f"{code}-interval", valueRange=ends),
    ]


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
    return {"coding": [{"system": CODE_SYSTEM, "code": code, "display": CODES[code]}], "text": CODES[code]}


def _percent(share: float) -> dict[str, object]:
    return {"value": round(100 * share, 4), "unit": "%", "system": UCUM, "code": "%"}


def _narrative(text: str) -> dict[str, str]:
    return {"status": "generated", "div": f'<div xmlns="http://www.w3.org/1999/xhtml">{escape(text)}</div>'}
