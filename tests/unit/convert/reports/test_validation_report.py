"""The page of a validation: valid, self-contained, escaped, and the same numbers as its JSON."""

from __future__ import annotations

import base64
import html
import json
import re
from collections import Counter
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import cv2
import msgspec
import numpy as np
import pytest

from edgeleuk.bundle.contents import Bundle
from edgeleuk.bundle.manifest import CALIBRATION
from edgeleuk.bundle.reading import read_bundle
from edgeleuk.errors import IntegrityError
from edgeleuk_convert.commands.evaluate import validation_facts_text
from edgeleuk_convert.commands.schemas import PRINTED
from edgeleuk_convert.evaluation.int8_vs_float import Answers, validation_facts
from edgeleuk_convert.metrics.classification import Judged
from edgeleuk_convert.reports.page import look_up, written
from edgeleuk_convert.reports.validation_page import GALLERY
from edgeleuk_convert.reports.validation_report import write_validation_report

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

NASTY = "<b>&\"'"
SHOWN = re.compile(r'<span data-key="([^"]+)" data-form="([^"]+)">([^<]*)</span>')
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Tree(HTMLParser):
    """Fails where a tag is closed that is not open, and collects what a test asks for."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.pictures: list[str] = []
        self.tags: Counter[str] = Counter()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        if tag == "img":
            self.pictures.append(dict(attrs)["src"] or "")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def judged(probability: Any) -> Judged:
    """60 cells of six subjects; one is called what no subject should be."""
    number = np.arange(60) % 6
    truth = number % 2 == 0
    subject = np.where(number == 0, NASTY, number.astype(str))
    return Judged(truth, probability, probability >= 0.5, np.ones(60), subject, subject)


@pytest.fixture(scope="module")
def answers() -> Answers:
    rng = np.random.default_rng(0)
    reference = np.clip(rng.normal(np.where(np.arange(60) % 2 == 0, 0.7, 0.3), 0.2), 0, 1)
    worse = np.clip(reference + rng.normal(0, 0.2, 60), 0, 1)
    probabilities = {"reference": reference, "tflite_int8": worse, "onnx_int8": reference}
    networks = {key: judged(probability) for key, probability in probabilities.items()}
    files = tuple(f"fold_0/all/{NASTY}{number}.png" for number in range(60))
    return Answers(networks, {key: Counter() for key in networks}, files, 0.5)


@pytest.fixture(scope="module")
def data(answers: Answers, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cells' pictures, but for one of those that flip."""
    folder = tmp_path_factory.mktemp("cells")
    gone = validation_facts(answers)["tflite_int8"]["flipped"][1]["file"]
    for file in answers.files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        if file != gone:
            cv2.imwrite(str(folder / file), np.full((90, 90, 3), 120, np.uint8))
    return folder


def report(
    folder: Path,
    answers: Answers,
    data: Path,
    *,
    stamp: str | None = None,
    layers: Sequence[tuple[str, float]] = (),
) -> tuple[dict[str, Any], str]:
    shipped = read_bundle("default")
    bundle = Bundle(
        shipped.path, shipped.sha256, msgspec.structs.replace(shipped.manifest, name=NASTY), shipped.members
    )
    facts = validation_facts(answers) | {"stamp": stamp}
    if layers:
        rows = [
            {"network": "tflite_int8", "name": name, "op": "conv", "sqnr_db": own, "own_sqnr_db": own}
            for name, own in layers
        ]
        plot = folder / "layers.png"
        plot.write_bytes(cv2.imencode(".png", np.zeros((9, 9, 3), np.uint8))[1].tobytes())
        facts |= {"layers": rows, "layers_images": 32, "layers_plot": str(plot)}
    page = write_validation_report(folder, facts, answers, bundle=bundle, data=data)
    return json.loads((folder / "validation.json").read_text()), page.read_text()


def test_the_page_is_whole_and_its_pictures_decode(answers: Answers, data: Path, tmp_path: Path) -> None:
    facts, page = report(tmp_path, answers, data)
    tree = Tree()
    tree.feed(page)
    tree.close()
    assert tree.open == []
    # One plot, and a thumbnail for each flip whose file is there.
    flips = facts["tflite_int8"]["flips"]
    assert len(tree.pictures) == 1 + flips - 1
    assert tree.tags["figure"] == flips > 3
    assert "cannot be read" in page
    for source in tree.pictures:
        head, _, content = source.partition(",")
        assert head in ("data:image/png;base64", "data:image/jpeg;base64")
        picture = cv2.imdecode(np.frombuffer(base64.b64decode(content), np.uint8), cv2.IMREAD_COLOR)
        assert picture is not None
        assert min(picture.shape[:2]) > 100
    assert sorted(file.name for file in tmp_path.iterdir()) == ["validation.html", "validation.json"]


def test_nothing_is_fetched_and_all_text_is_escaped(answers: Answers, data: Path, tmp_path: Path) -> None:
    _, page = report(tmp_path, answers, data, layers=[(f"{NASTY}conv", 3.0)])
    assert not re.search(r"https?://|<script|<link|@import|url\(|src=\"(?!data:)|href|<b>", page)
    for text in (f"{NASTY}conv", f"subject {NASTY}", f"fold_0/all/{NASTY}", f"<h1>{NASTY}"):
        tag, _, rest = text.rpartition("h1>")
        assert (f"{tag}h1>" if tag else "") + html.escape(rest) in page


def test_every_number_on_the_page_is_the_json_s(answers: Answers, data: Path, tmp_path: Path) -> None:
    facts, page = report(tmp_path, answers, data)
    shown = SHOWN.findall(page)
    assert len(shown) > 100
    for key, form, text in shown:
        assert html.unescape(text) == written(look_up(facts, key), form), key
    assert all(html.escape(reason) in page for reason in facts["reasons"])
    assert facts["verdict"] == "fail"
    assert "int8 loses TOO MUCH" in page
    assert "No decision flips." in page
    assert "no subject loses" in page


def test_it_shows_how_the_bundle_was_calibrated(answers: Answers, data: Path, tmp_path: Path) -> None:
    facts, page = report(tmp_path, answers, data)
    card = facts["calibration"]
    images = json.loads(read_bundle("default").members[CALIBRATION])["images"]
    assert card["images"] == sum(one["images"] for one in card["by_subject"]) == len(images)
    assert "chosen balanced with seed <span" in page


def test_layers_are_shown_when_there_are_some_the_worst_first(
    answers: Answers, data: Path, tmp_path: Path
) -> None:
    facts, page = report(tmp_path, answers, data, layers=[("bad", 2.5), ("good", 40.0)])
    assert [one["name"] for one in facts["layers"]] == ["bad", "good"]
    assert "signal to quantization noise of every layer" in page
    assert page.index('<th scope="row">bad</th>') < page.index('<th scope="row">good</th>')
    facts, page = report(tmp_path, answers, data)
    assert "layers" not in facts
    assert "Layers, the worst first" not in page


def test_a_leak_in_training_is_stamped(answers: Answers, data: Path, tmp_path: Path) -> None:
    _, page = report(tmp_path, answers, data, stamp="LEAKAGE ALLOWED IN TRAINING")
    assert page.count('<p class="stamp">LEAKAGE ALLOWED IN TRAINING</p>') == 2


def test_a_gallery_ends(answers: Answers, data: Path, tmp_path: Path) -> None:
    turned = {key: judged(1 - one.probability) for key, one in answers.judged.items()}
    many = Answers(
        answers.judged | {"tflite_int8": turned["tflite_int8"]}, answers.doubted, answers.files, 0.5
    )
    _, page = report(tmp_path, many, data)
    assert page.count("<figure>") <= GALLERY


def test_a_damaged_calibration_record_is_refused(answers: Answers, data: Path, tmp_path: Path) -> None:
    shipped = read_bundle("default")
    bundle = Bundle(
        shipped.path, shipped.sha256, shipped.manifest, dict(shipped.members) | {CALIBRATION: b"{}"}
    )
    facts = validation_facts(answers) | {"stamp": None}
    with pytest.raises(IntegrityError, match=r"calibration.json in default.edgeleuk is damaged"):
        write_validation_report(tmp_path, facts, answers, bundle=bundle, data=data)
    assert list(tmp_path.iterdir()) == []


def test_the_struct_holds_the_same(answers: Answers) -> None:
    facts = validation_facts(answers) | {"stamp": None, "layers_unmatched": {"tflite_int8": 1}}
    result = msgspec.convert(facts, PRINTED["validate"])
    assert json.loads(json.dumps(result.to_json())) == json.loads(json.dumps(facts))
    without = {key: value for key, value in facts.items() if key != "verdict"}
    with pytest.raises(msgspec.ValidationError, match="verdict"):
        msgspec.convert(without, PRINTED["validate"])


def test_the_text_says_the_same(answers: Answers) -> None:
    facts = validation_facts(answers)
    text = validation_facts_text(facts)
    assert f"tflite_int8: {facts['tflite_int8']['flips']} decisions flip" in text
    assert "verdict: fail" in text
    assert all(reason in text for reason in facts["reasons"])
