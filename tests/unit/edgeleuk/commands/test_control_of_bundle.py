"""A new bundle judges the control slide before it takes the old one's place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from control_sessions import entry
from signed_bundles import KEY, put, sha256, signed, version

from edgeleuk.bundle.reading import read_bundle
from edgeleuk.commands.control import entry_of
from edgeleuk.commands.run import RunOptions, run
from edgeleuk.control.measures import SHARES
from edgeleuk.control.store import change_control
from edgeleuk.io.settings import RunSettings
from edgeleuk.trust import store
from edgeleuk.trust.store import pin

if TYPE_CHECKING:
    from outcome import Call

    from edgeleuk.control.entries import ControlEntry

SLIDE = "virtual://?seed=7&frames=6&white_cells_per_field=12&width=640&height=480&px_per_um=8"
ONE, TWO = version(1), version(2)


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setattr(store, "SYSTEM", tmp_path / "system")
    pin(KEY.public, "ward7")


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One real session of the control slide, recorded with version 1."""
    folder = tmp_path_factory.mktemp("control")
    file = put(folder, ONE, None)
    settings = RunSettings(runtime="litert", precision="int8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(folder))
        run(SLIDE, str(file), settings, RunOptions(folder / "today.db", draw=False))
    return folder / "today.db"


def added(real: ControlEntry, file: Path, moved: float = 0.0) -> None:
    """Keep the real session, and four like it; `moved` lets them have had other shares."""

    def like(number: int) -> ControlEntry:
        facts = {name: getattr(real, name) for name in real.__struct_fields__}
        measures = {
            name: msgspec.structs.replace(one, value=one.value + (moved if name in SHARES else 0.0))
            for name, one in real.measures.items()
        }
        other = {"session": f"day{number}.db", "sha256": entry(number).sha256, "measures": measures}
        return entry(number, **facts | other)

    change_control(
        file, lambda _: (*map(like, range(4)), msgspec.structs.replace(real, measures=like(0).measures))
    )


def pulled(edgeleuk: Call, *words: object) -> tuple[int, str, str]:
    Path("source").mkdir(exist_ok=True)
    put(Path("source"), TWO, signed(TWO, 200))
    return edgeleuk("bundle", "pull", "source", "--to", "lab.edgeleuk", "--control", "c.json", *words)


def test_a_bundle_that_judges_the_slide_alike_is_taken(edgeleuk: Call, session: Path) -> None:
    put(Path(), ONE, signed(ONE, 100))
    added(entry_of(session, "lot-7"), Path("c.json"))
    code, _, err = pulled(edgeleuk)
    assert (code, "no session of it is here" in err) == (3, True)
    code, out, err = pulled(edgeleuk, "--control-session", session, "--json")
    assert code == 0, err
    control = json.loads(out)["control"]
    assert (control["slide"], control["session"]) == ("lot-7", str(session))
    # The same network: the same answers, from the pictures that were kept.
    assert set(control["shares"]) <= SHARES
    assert control["shares"]
    assert all(abs(share["distance"]) < 1e-6 for share in control["shares"].values())
    assert Path("lab.edgeleuk").read_bytes() == TWO


def test_a_bundle_that_judges_it_otherwise_is_refused(edgeleuk: Call, session: Path) -> None:
    put(Path(), ONE, signed(ONE, 100))
    added(entry_of(session, "lot-7"), Path("c.json"), moved=-20.0)
    # It lies in the working folder, by its name.
    Path("today.db").write_bytes(session.read_bytes())
    code, _, err = pulled(edgeleuk)
    assert code == 3, err
    assert "judges the control slide lot-7 otherwise than the bundle in use: got" in err
    assert Path("lab.edgeleuk").read_bytes() == ONE
    assert not Path("lab.edgeleuk").is_symlink()
    assert pulled(edgeleuk, "--without-control")[0] == 0
    assert Path("lab.edgeleuk").read_bytes() == TWO


def test_without_limits_nothing_is_asked(edgeleuk: Call, session: Path) -> None:
    put(Path(), ONE, signed(ONE, 100))
    change_control(Path("c.json"), lambda _: (entry_of(session, "lot-7"),))
    code, out, err = pulled(edgeleuk)
    assert code == 0, err
    assert "no control slide has limits" in out
    assert read_bundle("lab.edgeleuk").sha256 == sha256(TWO)
