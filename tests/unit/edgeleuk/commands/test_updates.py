"""`edgeleuk bundle`: signed bundles are taken, and nothing else is."""

from __future__ import annotations

import base64
import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from signed_bundles import KEY, OTHER, SERIES, make_certificate, put, served, sha256, signed, version

from edgeleuk.bundle.reading import read_bundle
from edgeleuk.cli.schemas import PRINTED
from edgeleuk.trust import store
from edgeleuk.trust.minisign import read_public_key, read_secret_key
from edgeleuk.trust.store import pin
from edgeleuk.updates.place import Place
from edgeleuk.updates.source import usb_folders

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from outcome import Call, Outcome

FIRST, SECOND, THIRD = 100, 200, 300
ONE, TWO, THREE = version(1), version(2), version(3)


def wrong_network(members: dict[str, bytes]) -> None:
    """Change weights of a network: its hashes fit again, and its answers do not."""
    data = bytearray(members["model.int8.tflite"])
    middle = len(data) // 2
    for place in range(middle, middle + 20_000):
        data[place] ^= 0x55
    members["model.int8.tflite"] = bytes(data)


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setattr(store, "SYSTEM", tmp_path / "system")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificate(tmp_path_factory.mktemp("tls") / "server.pem")


@pytest.fixture
def trusted() -> None:
    pin(KEY.public, "ward7")


def refused(done: Outcome, code: int, said: str) -> None:
    """One sentence, and no word of a program's."""
    assert done.code == code, done
    assert said in done.err
    errors = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "Traceback" not in done.err


@pytest.mark.usefixtures("trusted")
class TestPulls:
    def test_newer_ones_are_taken_and_the_one_before_is_kept(self, edgeleuk: Call, source: Path) -> None:
        put(source, ONE, signed(ONE, FIRST))
        done = edgeleuk("bundle", "pull", source, "--to", "lab", "--json")
        assert done.code == 0, done.err
        first = msgspec.json.decode(done.out, type=PRINTED["bundle-pull"])
        assert (first.state, first.sequence, first.key, first.before_sha256) == (
            "installed",
            FIRST,
            "ward7",
            None,
        )
        file = Path(first.file)
        assert (file.read_bytes(), file.suffix) == (ONE, ".edgeleuk")
        put(source, TWO, signed(TWO, SECOND))
        done = edgeleuk("bundle", "pull", source, "--to", "lab")
        assert done.code == 0, done.err
        assert (file.read_bytes(), file.with_name("lab.edgeleuk.minisig").read_bytes()) == (
            TWO,
            signed(TWO, SECOND),
        )
        assert "signed by ward7" in done.out
        assert "kept" in done.out
        # Again: nothing is done.
        assert "there already" in edgeleuk("bundle", "pull", source, "--to", "lab").out
        done = edgeleuk("bundle", "rollback", "lab", "--json")
        assert json.loads(done.out)["sha256"] == sha256(ONE)
        assert file.read_bytes() == ONE
        # What was left is not taken again by itself.
        refused(edgeleuk("bundle", "pull", source, "--to", "lab"), 7, "was installed here before, and left")
        assert edgeleuk("bundle", "pull", source, "--to", "lab", "--again").code == 0
        assert file.read_bytes() == TWO
        assert edgeleuk("inspect", "lab").out.count(f"series {SERIES}, sequence {SECOND}") == 1

    def test_of_a_folder_the_newest_is_taken(self, edgeleuk: Call, source: Path) -> None:
        put(source, ONE, signed(ONE, FIRST), "a.edgeleuk")
        put(source, THREE, signed(THREE, THIRD), "b.edgeleuk")
        put(source, TWO, signed(TWO, SECOND), "c.edgeleuk")
        put(source, b"x", signed(b"x", 900, key=OTHER), "d.edgeleuk")
        put(source, b"x", None, "e.edgeleuk")
        done = edgeleuk("bundle", "pull", source, "--to", "new.edgeleuk", "--json")
        assert json.loads(done.out)["sha256"] == sha256(THREE)

    def test_a_plain_file_is_kept_as_the_way_back(self, edgeleuk: Call, source: Path) -> None:
        file = put(Path(), ONE, None, "own.edgeleuk")
        put(source, TWO, signed(TWO, SECOND))
        assert edgeleuk("bundle", "pull", source, "--to", file).code == 0
        assert file.read_bytes() == TWO
        assert edgeleuk("bundle", "rollback", file).code == 0
        assert file.read_bytes() == ONE

    def test_what_is_no_bundle_is_not_taken_the_place_of(self, edgeleuk: Call, source: Path) -> None:
        put(source, ONE, signed(ONE, FIRST))
        Path("own.edgeleuk").write_text("letters")
        refused(edgeleuk("bundle", "pull", source, "--to", "own.edgeleuk"), 7, "is no bundle")
        assert Path("own.edgeleuk").read_text() == "letters"
        Path("link.edgeleuk").symlink_to("own.edgeleuk")
        refused(edgeleuk("bundle", "pull", source, "--to", "link.edgeleuk"), 2, "is a link")
        for to in ("default", "a.b", "x/y", "", ".."):
            done = edgeleuk("bundle", "pull", source, "--to", to)
            assert (done.code, "error: " in done.err) == (2, True), to

    def test_https(
        self, edgeleuk: Call, certificate: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        files = {"/a/lab.edgeleuk": ONE, "/a/lab.edgeleuk.minisig": signed(ONE, FIRST)}
        with served(files, certificate) as (server, address):
            done = edgeleuk("bundle", "pull", f"{address}/a/lab.edgeleuk", "--to", "lab")
            refused(done, 2, "is not to be trusted: got self-signed certificate")
            monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
            with_password = address.replace("//", "//ward:s3cret@") + "/a/lab.edgeleuk"
            done = edgeleuk("bundle", "pull", with_password, "--to", "lab", "--json")
            assert done.code == 0, done.err
            assert "s3cret" not in done.out + done.err
            basic = "Basic " + base64.b64encode(b"ward:s3cret").decode()
            assert server.asked == [("/a/lab.edgeleuk.minisig", basic), ("/a/lab.edgeleuk", basic)]
            # The signature says that it is older: the bundle itself is not even fetched.
            server.files |= {"/a/lab.edgeleuk.minisig": signed(TWO, 50, of=sha256(TWO))}
            server.asked.clear()
            refused(edgeleuk("bundle", "pull", with_password, "--to", "lab"), 7, "is not later than")
            assert [path for path, _ in server.asked] == ["/a/lab.edgeleuk.minisig"]
            # Not from HTTPS down to HTTP of another machine.
            server.moved["/b.edgeleuk.minisig"] = "http://192.0.2.1/b.edgeleuk.minisig"
            done = edgeleuk("bundle", "pull", f"{address}/b.edgeleuk", "--to", "lab")
            refused(done, 2, "is not taken from another machine: got http://")
            refused(edgeleuk("bundle", "pull", f"{address}/c.edgeleuk", "--to", "lab"), 7, "has no signature")

    def test_a_clock_in_1970(self, edgeleuk: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A certificate that is valid from 2190 on is to this machine what any is to one in 1970."""
        late = make_certificate(tmp_path / "late.pem", starts=2190)
        monkeypatch.setenv("SSL_CERT_FILE", str(late))
        with served({}, late) as (_, address):
            done = edgeleuk("bundle", "pull", f"{address}/lab.edgeleuk", "--to", "lab")
        refused(done, 2, "is not valid yet by this machine's clock")
        assert "set the clock" in done.err

    def test_http_of_this_machine_and_of_others(self, edgeleuk: Call) -> None:
        files = {"/lab.edgeleuk": ONE, "/lab.edgeleuk.minisig": signed(ONE, FIRST)}
        with served(files) as (_, address):
            assert edgeleuk("bundle", "pull", f"{address}/lab.edgeleuk", "--to", "lab").code == 0
        for address in ("http://192.0.2.1/lab.edgeleuk", "ftp://192.0.2.1/lab.edgeleuk"):
            done = edgeleuk("bundle", "pull", address, "--to", "lab")
            refused(done, 2, "is not taken from another machine")

    def test_an_answer_that_ends_too_early_or_never_comes(self, edgeleuk: Call) -> None:
        files = {"/lab.edgeleuk": ONE[:5000], "/lab.edgeleuk.minisig": signed(ONE, FIRST)}
        with served(files) as (server, address):
            server.lengths["/lab.edgeleuk"] = len(ONE)
            done = edgeleuk("bundle", "pull", f"{address}/lab.edgeleuk", "--to", "lab")
            refused(done, 2, "ended too early: got 5000 of")
            server.lengths["/lab.edgeleuk"] = 1 << 40
            refused(edgeleuk("bundle", "pull", f"{address}/lab.edgeleuk", "--to", "lab"), 2, "is too large")
        refused(edgeleuk("bundle", "pull", f"{address}/lab.edgeleuk", "--to", "lab"), 2, "Connection refused")
        assert not Path("data").exists() or not list(Path("data").rglob("*.edgeleuk"))


# What a source may have instead of the next bundle: bundle, signature, exit code, and what is said.
REFUSED: dict[str, Callable[[], tuple[bytes, bytes | None, int, str]]] = {
    "tampered": lambda: (
        TWO[:9000] + bytes([TWO[9000] ^ 1]) + TWO[9001:],
        signed(TWO, THIRD),
        7,
        "does not belong to the bundle",
    ),
    "tampered comment": lambda: (
        TWO,
        signed(TWO, THIRD).replace(b"sequence:300", b"sequence:900"),
        7,
        "was altered, or another key made it",
    ),
    "truncated": lambda: (TWO[:-1], signed(TWO, THIRD), 7, "does not belong to the bundle"),
    "truncated signature": lambda: (TWO, signed(TWO, THIRD)[:120], 7, "or a truncated one"),
    "unsigned": lambda: (TWO, None, 7, "has no signature, and unsigned bundles are not installed"),
    "wrong key": lambda: (TWO, signed(TWO, THIRD, key=OTHER), 7, "signed by a key that is not pinned here"),
    "disguised key": lambda: (
        TWO,
        signed(TWO, THIRD, key=OTHER._replace(public=OTHER.public._replace(key_id=KEY.public.key_id))),
        7,
        "was altered, or another key made it",
    ),
    "downgraded": lambda: (ONE, signed(ONE, FIRST - 1), 7, "is not later than what was installed here"),
    "of the same sequence": lambda: (ONE, signed(ONE, SECOND), 7, "is not later than"),
    "replayed": lambda: (ONE, signed(ONE, FIRST), 7, "is not later than"),
    "of another series": lambda: (
        ONE,
        signed(ONE, THIRD, series="other stain"),
        7,
        "is the place of another series of bundles",
    ),
    "signature of another": lambda: (
        ONE,
        signed(ONE, THIRD, of=sha256(TWO)),
        7,
        "is of another bundle",
    ),
    "no bundle": lambda: (b"letters", signed(b"letters", THIRD), 7, "is no bundle"),
    "cut before it was signed": lambda: (ONE[:90_000], signed(ONE[:90_000], THIRD), 7, "is no bundle"),
    "fails its self-test": lambda: (
        (wrong := version(4, wrong_network)),
        signed(wrong, THIRD),
        3,
        "the self-test of lab.edgeleuk failed",
    ),
}


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place where version 1 was installed, then version 2."""
    folder = tmp_path_factory.mktemp("used")
    place = Place(folder / "lab.edgeleuk")
    from edgeleuk.updates.place import Content, InstalledVersion

    for data, sequence in ((ONE, FIRST), (TWO, SECOND)):
        known = InstalledVersion(
            sha256=sha256(data),
            bundle="lab",
            series=SERIES,
            sequence=sequence,
            key_id=KEY.public.id_text,
            installed_at="2026-01-01T00:00:00+00:00",
            state="good",
        )
        with place.alone():
            place.install(known, Content(data, signed(data, sequence)))
    return folder


def all_of(folder: Path) -> dict[str, bytes | str]:
    return {
        str(path.relative_to(folder)): str(path.readlink()) if path.is_symlink() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("fault", REFUSED)
def test_what_is_not_as_it_should_be_is_refused_and_changes_nothing(
    edgeleuk: Call, source: Path, used: Path, fault: str
) -> None:
    data, signature, code, said = REFUSED[fault]()
    put(source, data, signature)
    before = all_of(used)
    refused(edgeleuk("bundle", "pull", source, "--to", used / "lab.edgeleuk"), code, said)
    assert all_of(used) == before
    assert (used / "lab.edgeleuk").read_bytes() == TWO


@pytest.mark.usefixtures("trusted")
def test_a_lost_note_does_not_let_an_older_bundle_in(edgeleuk: Call, source: Path, used: Path) -> None:
    copy = Path("copy")
    shutil.copytree(used, copy, symlinks=True)
    (copy / ".lab.edgeleuk.versions" / "note.json").unlink()
    put(source, ONE, signed(ONE, FIRST))
    refused(edgeleuk("bundle", "pull", source, "--to", copy / "lab.edgeleuk"), 7, "is not later than")
    (copy / ".lab.edgeleuk.versions" / "note.json").write_text("{")
    refused(edgeleuk("bundle", "pull", source, "--to", copy / "lab.edgeleuk"), 7, "note.json is damaged")


def test_without_a_pinned_key_nothing_is_pulled(edgeleuk: Call, source: Path) -> None:
    put(source, ONE, signed(ONE, FIRST))
    refused(edgeleuk("bundle", "pull", source, "--to", "lab"), 2, "no key is pinned")


@pytest.mark.usefixtures("trusted")
def test_sources_that_have_nothing(edgeleuk: Call, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(edgeleuk("bundle", "pull", source, "--to", "lab"), 2, "holds no bundle")
    refused(edgeleuk("bundle", "pull", "nowhere", "--to", "lab"), 2, "there is no such source")
    monkeypatch.setattr("edgeleuk.updates.source.usb_folders", list)
    refused(edgeleuk("bundle", "pull", "usb", "--to", "lab"), 2, "no USB stick is mounted")
    monkeypatch.setattr("edgeleuk.updates.source.usb_folders", lambda: [source])
    put(source, ONE, signed(ONE, FIRST))
    assert edgeleuk("bundle", "pull", "usb", "--to", "lab").code == 0


def test_usb_sticks_are_found_by_their_devices(tmp_path: Path) -> None:
    block = tmp_path / "sys" / "class" / "block"
    for device, place in {"sdb1": "usb1/1-2/sdb1", "sda2": "ata1/sda2", "sdc1": "usb2/sdc1"}.items():
        (tmp_path / "sys" / "devices" / place).mkdir(parents=True)
        block.mkdir(parents=True, exist_ok=True)
        (block / device).symlink_to(tmp_path / "sys" / "devices" / place)
    mounts = tmp_path / "proc" / "self" / "mounts"
    mounts.parent.mkdir(parents=True)
    mounts.write_text(
        "proc /proc proc rw 0 0\n/dev/sda2 / ext4 rw 0 0\n/dev/sdb1 /media/ward/MY\\040STICK vfat rw 0 0\n"
        "/dev/sdc1 /boot/firmware vfat rw 0 0\n/dev/sda2 /home ext4 rw 0 0\n\n"
    )
    assert usb_folders(tmp_path) == [Path("/media/ward/MY STICK")]
    assert usb_folders(tmp_path / "nothing") == []


@pytest.mark.usefixtures("trusted")
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_stick(edgeleuk: Call, source: Path, tmp_path: Path) -> None:
    """A real file system of 1 MB, in a name space of its own where that is allowed."""
    put(source, ONE, signed(ONE, FIRST))
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(small)], check=False, capture_output=True
    ).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        done = edgeleuk("bundle", "pull", source, "--to", small / "lab.edgeleuk")
        refused(done, 2, "cannot be written: got No space left on device")
        assert not (small / "lab.edgeleuk").exists()
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_signing_by_the_command_line(edgeleuk: Call) -> None:
    file = put(Path(), ONE, None)
    done = edgeleuk("bundle", "sign", file, "--new-key", "ward7", "--sequence", 5, "--json")
    assert done.code == 0, done.err
    made = msgspec.json.decode(done.out, type=PRINTED["bundle-sign"])
    assert Path("ward7.key").stat().st_mode & 0o777 == 0o600
    assert (made.sequence, made.series, made.sha256) == (5, "lab-1", sha256(ONE))
    if shutil.which("minisign"):
        words = ["minisign", "-Vm", "lab.edgeleuk", "-p", "ward7.pub"]
        done_too = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done_too.returncode == 0, done_too.stderr
        assert f"sequence:5\tseries:lab-1\tsha256:{sha256(ONE)}" in done_too.stdout
    # Its own time comes later than any number that somebody counted by hand.
    done = edgeleuk("bundle", "sign", file, "--key", "ward7.key", "--series", "lab")
    assert done.code == 0, done.err
    assert f"trust it  edgeleuk bundle trust {made.public_key}" in done.out
    done = edgeleuk("bundle", "trust", made.public_key, "--name", "ward")
    assert (done.code, "pinned    ward" in done.out) == (0, True)
    assert "series lab, sequence 1" in edgeleuk("inspect", file).out
    assert edgeleuk("bundle", "pull", file, "--to", "here").code == 0


def test_what_cannot_be_signed(edgeleuk: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    file = put(Path(), ONE, None)
    Path("letters.edgeleuk").write_text("letters")
    Path("bad.key").write_text("bad")
    for words, code, said in (
        ((file,), 2, "one key signs a bundle"),
        ((file, "--key", "a.key", "--new-key", "b"), 2, "one key signs a bundle"),
        ((file, "--key", "no.key"), 2, "cannot be read"),
        ((file, "--key", "bad.key"), 7, "holds no secret key"),
        (("letters.edgeleuk", "--new-key", "b"), 7, "is no bundle"),
        (("default", "--new-key", "b"), 2, "needs no signature"),
        ((file, "--new-key", "b", "--sequence", 0), 2, "the sequence is out of range"),
    ):
        refused(edgeleuk("bundle", "sign", *words), code, said)
    monkeypatch.setattr("edgeleuk.commands.signing.time.time", lambda: 4000.0)
    refused(edgeleuk("bundle", "sign", file, "--new-key", "b"), 2, "the clock is wrong")
    assert not Path("b.key").exists()
    assert edgeleuk("bundle", "sign", file, "--new-key", "b", "--sequence", 1).code == 0
    refused(edgeleuk("bundle", "sign", file, "--new-key", "b", "--sequence", 1), 2, "no key is overwritten")


def test_trusting_by_the_command_line(edgeleuk: Call, tmp_path: Path) -> None:
    assert "No key is pinned" in edgeleuk("bundle", "trust").out
    Path("ward7.pub").write_text(KEY.public.file_text)
    assert edgeleuk("bundle", "trust", "ward7.pub").code == 0
    found = msgspec.json.decode(edgeleuk("bundle", "trust", "--json").out, type=PRINTED["bundle-trust"])
    assert [(one.name, one.key_id) for one in found.keys] == [("ward7", KEY.public.id_text)]
    Path("bad.pub").write_text("bad")
    refused(edgeleuk("bundle", "trust", "bad.pub"), 7, "bad.pub is damaged")
    refused(edgeleuk("bundle", "trust", "no.pub"), 2, "cannot be read")
    refused(edgeleuk("bundle", "trust", "ward7.pub", "--remove", "ward7"), 2, "not both")
    broken = tmp_path / "config" / "edgeleuk" / "trusted-keys" / "bad.pub"
    broken.write_text("bad")
    assert "BROKEN" in edgeleuk("bundle", "trust").out
    refused(edgeleuk("classify", "x.png", "--bundle", put(Path(), ONE, None)), 7, "is broken")
    assert edgeleuk("bundle", "trust", "--remove", "bad").code == 0
    assert "trusted   ward7" in edgeleuk("bundle", "trust").out


RUNS = (
    ("run", "--camera", "virtual://?frames=2", "--bundle"),
    ("scan", "--stage", "socket://127.0.0.1:9", "--camera", "virtual://", "--area", "1x1", "--bundle"),
    ("classify", "x.png", "--bundle"),
    ("bench", "--seconds", "1", "--bundle"),
    ("mcu", "export", "--out", "firmware"),
)


def test_where_a_key_is_pinned_unsigned_bundles_do_not_run(edgeleuk: Call) -> None:
    file = put(Path(), ONE, None)
    shutil.copy(Path(__file__).parents[4] / "docs" / "pictures" / "control.png", "x.png")
    pin(KEY.public, "ward7")
    for words in RUNS:
        done = edgeleuk(*words, file)
        if words[0] != "scan":
            refused(done, 7, "lab.edgeleuk is unsigned, and only bundles that a pinned key signed run here")
        assert not Path("firmware").exists()
    assert "signature unsigned" in edgeleuk("inspect", file).out
    put(Path(), ONE, signed(ONE, FIRST, key=OTHER))
    refused(edgeleuk(*RUNS[0], file), 7, "is signed by a key that is not pinned here")
    assert "not pinned here and proves nothing" in edgeleuk("inspect", file).out
    put(Path(), ONE, signed(TWO, FIRST))
    refused(edgeleuk(*RUNS[0], file), 7, "does not belong to the bundle")
    assert "signature WRONG" in edgeleuk("inspect", file).out
    put(Path(), ONE, signed(ONE, FIRST))
    done = edgeleuk(*RUNS[0], file)
    assert done.code == 0, done.err
    facts: dict[str, Any] = json.loads(edgeleuk("inspect", file, "--json").out)
    assert facts["signature"] == {
        "state": "signed",
        "key": "ward7",
        "key_id": KEY.public.id_text,
        "series": SERIES,
        "sequence": FIRST,
        "error": None,
    }
    # The shipped one is a part of the installation.
    assert edgeleuk(*RUNS[0], "default", "--session", "shipped.db").code == 0
    assert "a part of edgeleuk" in edgeleuk("inspect").out


def test_where_no_key_is_pinned_every_bundle_runs(edgeleuk: Call) -> None:
    file = put(Path(), ONE, None)
    assert edgeleuk(*RUNS[0], file).code == 0
    assert "signature unsigned" in edgeleuk("inspect", file).out


def test_without_the_library_a_pinned_key_says_what_to_install(
    edgeleuk: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = put(Path(), ONE, signed(ONE, FIRST))
    pin(KEY.public, "ward7")
    monkeypatch.setitem(__import__("sys").modules, "cryptography.hazmat.primitives.asymmetric", None)
    refused(edgeleuk(*RUNS[0], file), 5, "pip install 'edgeleuk[sign]'")
    refused(edgeleuk("bundle", "trust", KEY.public.text), 5, "pip install 'edgeleuk[sign]'")


def test_a_public_key_is_what_is_printed(edgeleuk: Call) -> None:
    file = put(Path(), ONE, None)
    made = json.loads(edgeleuk("bundle", "sign", file, "--new-key", "k", "--sequence", 1, "--json").out)
    assert read_public_key(Path("k.pub").read_text(), "k.pub").text == made["public_key"]
    assert read_bundle(file).sha256 == made["sha256"]


@pytest.fixture
def installed(edgeleuk: Call, source: Path) -> Iterator[Path]:
    """Version 1, confirmed, and version 2 after it, which no run has confirmed."""
    pin(KEY.public, "ward7")
    file = Path("lab.edgeleuk")
    for data, sequence in ((ONE, FIRST), (TWO, SECOND)):
        put(source, data, signed(data, sequence))
        assert edgeleuk("bundle", "pull", source, "--to", file).code == 0
        if data is ONE:
            assert "is confirmed" in ran(edgeleuk, 3).err
    return file


def ran(edgeleuk: Call, frames: int, *words: str) -> Outcome:
    number = len(list(Path().glob("session*.db")))
    session = ("--session", f"session{number}.db", "--runtime", "litert")
    camera = ("--camera", f"virtual://?frames={frames}&width=480&height=360")
    return edgeleuk("run", *camera, "--bundle", "lab.edgeleuk", *session, *words)


def state_of(file: Path) -> tuple[str, int]:
    place = Place(file)
    version = place.note().of(place.current)
    return version.state, version.starts


def test_a_run_that_goes_well_confirms_a_bundle(edgeleuk: Call, installed: Path) -> None:
    assert state_of(installed) == ("pending", 0)
    done = ran(edgeleuk, 3)
    assert "is confirmed" in done.err
    assert (installed.read_bytes(), *state_of(installed)) == (TWO, "good", 0)


def test_a_camera_that_is_not_there_says_nothing_of_the_bundle(edgeleuk: Call, installed: Path) -> None:
    for _ in range(5):
        done = edgeleuk("run", "--camera", "dir://nowhere", "--bundle", installed, "--runtime", "litert")
        assert done.code in {2, 6}
    assert (installed.read_bytes(), *state_of(installed)) == (TWO, "pending", 0)


def test_starts_that_break_down_lead_back(edgeleuk: Call, installed: Path) -> None:
    # A real kill -9 in the middle of a run, three times.
    code = (
        "import os, signal, sys; sys.argv[0] = 'edgeleuk';"
        " import edgeleuk.commands.run as running;"
        " running.run_pipeline = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL);"
        " from edgeleuk.cli.app import main; main()"
    )
    words = ["run", "--camera", "virtual://?frames=3&width=480&height=360", "--runtime", "litert"]
    for number in range(3):
        killed = subprocess.run(
            [
                *(__import__("sys").executable, "-c", code, *words),
                *("--bundle", str(installed), "--session", f"killed{number}.db"),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        assert killed.returncode == -9, killed.stderr
        assert state_of(installed) == ("pending", number + 1)
    done = ran(edgeleuk, 3)
    assert done.code == 0
    assert "went back from lab-2" in done.err
    assert "3 runs with it broke down" in done.err
    assert (installed.read_bytes(), state_of(installed)[0]) == (ONE, "good")


def test_a_self_test_that_fails_at_the_next_start_leads_back(
    edgeleuk: Call, installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a library was updated between the pull and the start."""
    from edgeleuk.updates import starts

    def fails(bundle: object) -> None:
        from edgeleuk.errors import CheckFailedError

        raise CheckFailedError("the self-test of lab.edgeleuk failed", got="all of it")

    monkeypatch.setattr(starts, "require_self_test", fails)
    done = ran(edgeleuk, 3)
    assert done.code == 0, done.err
    assert "went back from lab-2" in done.err
    assert installed.read_bytes() == ONE


def test_there_is_not_always_a_way_back(edgeleuk: Call, source: Path) -> None:
    pin(KEY.public, "ward7")
    put(source, ONE, signed(ONE, FIRST))
    assert edgeleuk("bundle", "pull", source, "--to", "lab").code == 0
    refused(edgeleuk("bundle", "rollback", "lab"), 2, "there is no bundle before the one in")
    refused(edgeleuk("bundle", "rollback", put(Path(), ONE, None)), 2, "was not installed by")


def test_every_command_of_the_page_runs(
    edgeleuk: Call, source: Path, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[4] / "docs" / "updates.md").read_text()
    shown = [line for line in page.splitlines() if line.startswith("edgeleuk ")]
    assert len(shown) == 10
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.setattr("edgeleuk.updates.source.usb_folders", lambda: [source])
    put(Path(), TWO, None)
    with served({}, certificate) as (server, address):
        stand_ins = {
            "URI": "virtual://?frames=3&width=480&height=360",
            "FOLDER": str(source),
            "https://HOST/lab.edgeleuk": f"{address}/lab.edgeleuk",
        }
        for line in shown:
            words = [stand_ins.get(word, word) for word in shlex.split(line)[1:]]
            done = edgeleuk(*words, *(("--runtime", "litert") if words[0] == "run" else ()))
            assert done.code == 0, f"{line}: {done.err}"
            if "--series" in words:
                # What is signed is brought to where it is pulled from, and an older one was there before.
                signature = Path("lab.edgeleuk.minisig").read_bytes()
                put(source, TWO, signature)
                server.files |= {"/lab.edgeleuk": TWO, "/lab.edgeleuk.minisig": signature}
            if "--remove" in words:
                key = read_secret_key(Path("ward7.key").read_text(), "ward7.key")
                pin(key.public, "ward7")
                Path("older").mkdir()
                put(Path("older"), ONE, signed(ONE, FIRST, key=key))
                assert edgeleuk("bundle", "pull", "older", "--to", "lab").code == 0
    assert "lab-1" in edgeleuk("inspect", "lab").out
