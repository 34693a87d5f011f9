"""The report of a session, its page, and FHIR, held to the published structure."""

from __future__ import annotations

import json
import math
import re
import sqlite3
import warnings
from typing import TYPE_CHECKING, Any

import pytest
from sessions import BLAST, record, summary

from edgeleuk.commands.report import write_page
from edgeleuk.counting.confusion import Confusion, KnownKinds
from edgeleuk.counting.intervals import KnownError, Rate
from edgeleuk.errors import SessionError
from edgeleuk.results import Decision, Prediction
from edgeleuk.results.kinds import Kind
from edgeleuk.session import create_session
from edgeleuk.session.fhir import CODE_SYSTEM, CODES, LOINC, SNOMED_CT, UCUM, export_fhir, fhir_bundle
from edgeleuk.session.report import report_text, session_report
from edgeleuk.version import RESEARCH_USE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from outcome import Call

KNOWN = KnownError(0.6, Rate(0.95, 200, 100), Rate(0.9, 200, 100))
LOINC_CODES = {"blast": "26446-5", "neutrophil": "26511-6", "lymphocyte": "26478-8", "monocyte": "26485-3"}
# No output may say what a count means for anybody.
CLINICAL = re.compile(
    r"diagnosis|leuk(a)?emia\b|patient|abnormal|malignan|consistent with|suggest", re.IGNORECASE
)


def make(path: Path, *, cells: int = 10, finished: bool = True, known: object = KNOWN.to_json()) -> Path:
    settings = {"camera": "test://", "bundle_sha256": "ab" * 32, "bundle": "b", "edgeleuk": "0.1.0"}
    with create_session(path, settings | {"known_error": known, "until_points": 8.0}) as session:
        for number in range(cells):
            probability = 0.9 - 0.08 * (number % 10)
            decision = Decision.BLAST if probability > 0.7 else Decision.NORMAL
            prediction = Prediction(decision, probability)
            if 0.5 <= probability <= 0.7:
                prediction = Prediction(Decision.UNCERTAIN, probability, "probability between <0.5 & 0.7>")
            record(session, number, prediction)
        if cells:
            record(session, cells, Prediction(Decision.UNCERTAIN, math.nan, "scale unknown"), px_per_um=None)
        session.record_rejected(99, 1e9 + 99, "test://", "out of focus")
        session.record_event("gap", "nothing for 2 s", 1e9 + 50)
        session.record_event("lost", "closed", 1e9 + 60)
        session.record_event("scenario", "freeze", 1e9 + 61)
        if finished:
            session.finish(summary(path))
    return path


def make_kinds(
    path: Path, *, bands: bool = False, foreign: int = 0, confusion: Confusion | str = "why not"
) -> Path:
    """Record 5 blasts, 15 lymphocytes, 20 neutrophils and 5 erythroblasts, of a bundle that names more."""
    asked = ("neutrophil", "lymphocyte", "monocyte", "erythroblast", *(("band",) if bands else ()))
    known = KnownKinds(asked, confusion).to_json()
    kinds = [Kind.NEUTROPHIL] * 20 + [Kind.ERYTHROBLAST] * 5 + [Kind.BAND] * bands
    predictions = [
        *[Prediction(Decision.BLAST, 0.9, kind=Kind.BLAST_LIKE, kind_probability=0.9)] * 5,
        *[Prediction(Decision.NORMAL, 0.1, kind=Kind.LYMPHOCYTE, kind_probability=0.9)] * 15,
        *(Prediction(Decision.OTHER, math.nan, kind=kind, kind_probability=0.9) for kind in kinds),
        *[Prediction(Decision.UNCERTAIN, math.nan, "colour: red/blue 1.3 is outside", foreign=True)]
        * foreign,
    ]
    with create_session(path, {"camera": "test://", "known_kinds": known}) as session:
        for number, prediction in enumerate(predictions):
            record(session, number, prediction)
    return path


class TestReport:
    def test_what_it_counts(self, tmp_path: Path) -> None:
        facts = session_report(make(tmp_path / "s.db", cells=20)).to_json()
        assert facts["frames"] == {
            "captured": 10, "processed": 21, "dropped": 1, "rejected": 1,
            "rejected_by_reason": {"out of focus": 1},
        }  # fmt: skip
        assert [facts["cells"][name] for name in ("unique", "blast", "normal", "uncertain")] == [21, 6, 8, 7]
        assert facts["cells"]["uncertain_by_reason"] == {"probability": 6, "scale": 1}
        assert facts["blast_share"]["n"] == 14
        assert facts["events"] == {"n": 3, "by_kind": {"gap": 1, "lost": 1, "scenario": 1}}
        assert [(gap["kind"], gap["at"]) for gap in facts["gaps"]] == [
            ("gap", "2001-09-09T01:47:30.000+00:00"),
            ("lost", "2001-09-09T01:47:40.000+00:00"),
        ]
        # By the threshold alone, of those that have a probability.
        corrected = facts["corrected_blast_share"]
        assert (corrected["positive"], corrected["n"]) == (8, 20)
        assert facts["precision"]["points"] == 8.0
        assert facts["chain"]["broken"] is None
        assert (facts["first_frame"], facts["last_frame"]) == (
            "2001-09-09T01:46:40.000+00:00", "2001-09-09T01:48:19.000+00:00",
        )  # fmt: skip

    def test_its_words(self, tmp_path: Path) -> None:
        text = report_text(session_report(make(tmp_path / "s.db")))
        assert text.endswith(RESEARCH_USE)
        for words in (
            "rejected  1 out of focus",
            "events    1 gap",
            "gap       2001",
            "all sound",
            "exact 95 %",
        ):
            assert words in text
        assert not CLINICAL.search(text.replace(RESEARCH_USE, ""))

    def test_what_light_focus_and_control_said(self, tmp_path: Path) -> None:
        optics = "glass 210.00 +- 1.00 of 255, evenness 0.9500 +- 0.0100, sharpness 0.5 +- 0.02, 5 fields"
        control = "focus left the laboratory's range: sharpness 0.383"
        with create_session(tmp_path / "s.db", {}) as session:
            record(session, 0)
            session.record_event("optics", optics, 1e9 + 5)
            for number in range(12):
                session.record_event("control", f"{control} {number}", 1e9 + 6)
        report = session_report(tmp_path / "s.db")
        assert [(check.kind, check.text) for check in report.checks[:2]] == [
            ("optics", optics), ("control", f"{control} 0"),
        ]  # fmt: skip
        lines = report_text(report).splitlines()
        assert f"optics    2001-09-09T01:46:45.000+00:00 {optics}" in lines
        assert f"control   2001-09-09T01:46:46.000+00:00 {control} 9" in lines
        assert "control   and 2 more" in lines
        assert not report.gaps

    @pytest.mark.parametrize("cells", [0, 3])
    def test_a_session_that_was_cut_off(self, tmp_path: Path, cells: int) -> None:
        facts = session_report(make(tmp_path / "s.db", cells=cells, finished=False))
        assert not facts.finished
        assert "ended: cut off, or still being recorded" in report_text(facts)
        assert facts.frames.dropped is None

    def test_an_old_session_has_neither_chain_nor_known_error(self, tmp_path: Path) -> None:
        path = make(tmp_path / "s.db", known=None)
        connection = sqlite3.connect(path)
        connection.executescript("DROP TABLE chain; PRAGMA user_version = 1")
        connection.close()
        text = report_text(session_report(path))
        assert "chain     none" in text
        assert "corrected none: the session was recorded without the model's known error" in text
        export_fhir(path, tmp_path / "s.json")

    def test_a_changed_session(self, edgeleuk: Call, tmp_path: Path) -> None:
        path = make(tmp_path / "s.db")
        connection = sqlite3.connect(path)
        connection.execute("UPDATE cells SET decision = 'normal' WHERE track = 0")
        connection.commit()
        connection.close()
        outcome = edgeleuk("report", path)
        assert (outcome.code, "BROKEN after 1 links: frame 0" in outcome.out) == (7, True)
        with pytest.raises(SessionError, match="is not exported, its records were changed"):
            export_fhir(path, tmp_path / "s.json")
        assert not (tmp_path / "s.json").exists()


def refused_codes(model: Any) -> Iterator[str]:
    """Yield what is none of FHIR's own codes where one is required: the library leaves that to others."""
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        allowed = (field.json_schema_extra or {}).get("enum_values")
        if allowed and value is not None and value not in allowed:
            yield f"{name}: {value}"
        for one in value if isinstance(value, list) else [value]:
            if hasattr(type(one), "model_fields"):
                yield from refused_codes(one)


class TestFhir:
    def validated(self, bundle: dict[str, Any]) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from fhir.resources.R4B.bundle import Bundle

            found = Bundle.model_validate_json(json.dumps(bundle))
        assert list(refused_codes(found)) == []
        return found

    @pytest.mark.parametrize("cells", [0, 1, 10])
    def test_it_is_what_hl7_published(self, tmp_path: Path, cells: int) -> None:
        bundle = fhir_bundle(session_report(make(tmp_path / "s.db", cells=cells)))
        found = self.validated(bundle)
        observation, device = (entry.resource for entry in found.entry)
        assert (type(observation).__name__, type(device).__name__) == ("Observation", "Device")
        assert (found.type, observation.status) == ("collection", "preliminary")
        assert found.entry[1].fullUrl == observation.device.reference
        assert [version.value for version in device.version] == ["0.1.0", "ab" * 32]
        assert observation.note[0].text == RESEARCH_USE

    def test_its_numbers(self, tmp_path: Path) -> None:
        bundle = fhir_bundle(session_report(make(tmp_path / "s.db", cells=20)))
        components = {
            one["code"]["coding"][0]["code"]: one for one in bundle["entry"][0]["resource"]["component"]
        }
        assert set(components) == set(CODES) - {"differential-count"}
        assert [components[name]["valueInteger"] for name in ("cells", "blast", "normal", "uncertain")] == [
            21, 6, 8, 7,
        ]  # fmt: skip
        assert components["blast-share"]["valueQuantity"]["value"] == 42.8571
        ends = components["blast-share-interval"]["valueRange"]
        assert (ends["low"]["value"], ends["high"]["value"]) == (17.6611, 71.1391)

    def test_foreign_cells_leave_a_reason_in_place_of_a_share(self, tmp_path: Path) -> None:
        with create_session(
            tmp_path / "s.db", {"camera": "test://", "known_error": KNOWN.to_json()}
        ) as session:
            for number in range(33):
                reason = "colour: red/blue 1.3 is outside" if number < 21 else "area 9 um2 is outside"
                record(session, number, Prediction(Decision.UNCERTAIN, 0.9, reason, foreign=True))
        facts = session_report(tmp_path / "s.db")
        write_page(tmp_path / "s.db", tmp_path / "s.html")
        found = [report_text(facts), (tmp_path / "s.html").read_text(), json.dumps(fhir_bundle(facts))]
        # A style has per cents of its own.
        found[1] = re.sub(r"<style>.*?</style>", "", found[1], flags=re.DOTALL)
        for text in found:
            assert "33 of 33 cells are unlike the training cells (colour 21, area 12)" in text
            # The sentence's own limit, and no share.
            assert set(re.findall(r"[\d.]+ ?%", text.replace("95 %", ""))) <= {"20%"}
        assert "0 blast, 0 normal, 33 uncertain (colour 21, area 12)" in found[0]
        assert "way on    colour" in found[0]

    def test_no_patient_no_interpretation_no_foreign_code(self, tmp_path: Path) -> None:
        text = json.dumps(fhir_bundle(session_report(make(tmp_path / "s.db"))))
        text += json.dumps(fhir_bundle(session_report(make_kinds(tmp_path / "kinds.db"))))
        for word in ("subject", "interpretation", "referencerange", "performer"):
            assert word not in text.lower()
        # Only what was verified of other systems: shares of kinds.
        assert set(re.findall(r'"system": "(.*?)"', text)) == {CODE_SYSTEM, UCUM, LOINC, SNOMED_CT}
        assert set(re.findall(r'"system": "http://loinc.org", "code": "(.*?)"', text)) == {
            *LOINC_CODES.values(), "19048-8",
        }  # fmt: skip
        assert not CLINICAL.search(text.replace(RESEARCH_USE, ""))

    @pytest.mark.parametrize(
        "spoil",
        [
            lambda one: one.pop("status"),
            lambda one: one.pop("code"),
            lambda one: one.update(status="nonsense"),
            lambda one: one.update(verdict="fine"),
            lambda one: one.update(effectivePeriod={"start": "yesterday"}),
            lambda one: one["component"][0].update(valueString="two values"),
            lambda one: one["component"][0].update(valueInteger="many"),
            lambda one: one["text"].update(status="made up"),
        ],
    )
    def test_the_check_is_real(self, tmp_path: Path, spoil: Any) -> None:
        bundle = fhir_bundle(session_report(make(tmp_path / "s.db")))
        self.validated(bundle)
        spoil(bundle["entry"][0]["resource"])
        with pytest.raises((ValueError, AssertionError)):
            self.validated(bundle)

    @pytest.mark.parametrize("bands", [False, True])
    def test_the_kinds(self, tmp_path: Path, bands: bool) -> None:
        path = make_kinds(tmp_path / "s.db", bands=bands)
        bundle = fhir_bundle(session_report(path))
        self.validated(bundle)
        main, _, *kinds = (entry["resource"] for entry in bundle["entry"])
        assert [one["reference"] for one in main["hasMember"]] == [f"urn:uuid:{one['id']}" for one in kinds]
        assert len({one["id"] for one in kinds}) == len(kinds)
        coded = {coding["code"]: one for one in kinds for coding in one["code"]["coding"]}
        facts = session_report(path).to_json()["white_cells"]
        n = facts["white_cells"]["n"]
        assert n == 40 + bands
        for kind, code in (
            LOINC_CODES.items() if not bands else [("neutrophil", "26505-8"), ("band", "26508-2")]
        ):
            observation, of = coded[code], facts["white_cells"]["kinds"][kind]
            assert observation["code"]["text"] == f"{kind} cells per 100 nucleated white cells"
            assert observation["valueQuantity"]["value"] == pytest.approx(100 * of["share"], abs=1e-4)
            components = self.components(observation)
            assert [components[name]["valueInteger"] for name in ("kind-cells", "white-cells")] == [
                of["count"],
                n,
            ]
            ends = components["kind-interval"]["valueRange"]
            assert [ends[end]["value"] for end in ("low", "high")] == pytest.approx(
                [100 * of["low"], 100 * of["high"]], abs=1e-4
            )
        # A segmented neutrophil is less than SNOMED CT's neutrophil.
        assert ("271035003" in coded) != bands
        ratio = coded["19048-8"]
        assert (ratio["valueQuantity"]["value"], ratio["valueQuantity"]["code"]) == (
            round(500 / n, 4), "/100{WBCs}",
        )  # fmt: skip
        assert "blast-of-white-interval" in self.components(coded["26446-5"])
        assert not CLINICAL.search(json.dumps(bundle).replace(RESEARCH_USE, ""))

    def components(self, observation: dict[str, Any]) -> dict[str, Any]:
        return {one["code"]["coding"][0]["code"]: one for one in observation["component"]}

    def test_corrected_kinds_stand_beside_the_raw_ones(self, tmp_path: Path) -> None:
        kinds = ("blast", "lymphocyte", "neutrophil", "erythroblast")
        rows = tuple(tuple(90.0 if a == b else 2.0 for b in kinds) for a in kinds)
        path = make_kinds(tmp_path / "s.db", confusion=Confusion(kinds, rows, (50.0,) * 4))
        report = session_report(path)
        assert "corrected shares of 40 white cells" in report_text(report)
        bundle = fhir_bundle(report)
        self.validated(bundle)
        corrected = report.to_json()["corrected_white_cells"]["kinds"]
        assert set(corrected) == set(kinds) - {"erythroblast"}
        for entry in bundle["entry"][2:]:
            of_kind = entry["resource"]
            kind = of_kind["code"]["text"].partition(" cells")[0]
            components = self.components(of_kind)
            assert ("corrected-kind-share" in components) == (kind in corrected)
            if kind in corrected:
                share = components["corrected-kind-share"]["valueQuantity"]["value"]
                assert share == pytest.approx(100 * corrected[kind]["share"], abs=1e-4)

    def test_foreign_cells_leave_a_reason_in_place_of_every_kinds_share(self, tmp_path: Path) -> None:
        bundle = fhir_bundle(session_report(make_kinds(tmp_path / "s.db", foreign=30)))
        self.validated(bundle)
        for entry in bundle["entry"][2:]:
            assert "valueQuantity" not in entry["resource"]
            assert "are unlike the training cells" in entry["resource"]["dataAbsentReason"]["text"]

    def test_the_command(self, edgeleuk: Call, tmp_path: Path) -> None:
        path = make(tmp_path / "s.db")
        first = edgeleuk("export", path, "--fhir")
        assert edgeleuk("export", path, "--fhir", "--out", "s.json").code == 0
        assert (tmp_path / "s.json").read_text() == first.out
        self.validated(json.loads(first.out))
        for words in ((), ("--csv", "--fhir"), ("--csv", "--jsonl", "--fhir")):
            outcome = edgeleuk("export", path, *words)
            assert (outcome.code, "--csv, --jsonl, --fhir" in outcome.err) == (2, True)


def test_the_threshold_is_asked_of_the_rows(tmp_path: Path) -> None:
    with create_session(tmp_path / "s.db", {}) as session:
        assert (session.called(0.75).positive, session.called(0.75).total) == (0, 0)
        record(session, 0, BLAST)
        assert (session.called(0.75).positive, session.called(0.76).positive) == (1, 0)
