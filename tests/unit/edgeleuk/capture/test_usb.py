from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from edgeleuk.capture.discovery import cameras_text, find_camera, list_cameras
from edgeleuk.capture.usb import unreadable_cameras
from edgeleuk.doctor.camera import _camera
from edgeleuk.errors import CameraError

if TYPE_CHECKING:
    from pathlib import Path


def plug_in(
    root: Path, bus: str, vendor: str, product: str, *interfaces: tuple[str, str], name: str = ""
) -> None:
    """Write what the kernel shows of a device under /sys/bus/usb/devices."""
    device = root / bus
    device.mkdir(parents=True)
    (device / "idVendor").write_text(f"{vendor}\n")
    (device / "idProduct").write_text(f"{product}\n")
    if name:
        (device / "product").write_text(f"{name}\n")
    for number, (kind, sub) in enumerate(interfaces):
        interface = root / f"{bus}:1.{number}"
        interface.mkdir()
        (interface / "bInterfaceClass").write_text(f"{kind}\n")
        (interface / "bInterfaceSubClass").write_text(f"{sub}\n")


@pytest.mark.parametrize(
    ("vendor", "product", "interfaces", "says"),
    [
        ("0547", "3016", [("ff", "00")], "it looks like a camera of ToupTek, also sold as AmScope, Swift"),
        ("0547", "3016", [("0e", "01"), ("0e", "02")], None),
        ("0547", "2131", [("ff", "00")], None),
        ("2676", "ba02", [("ef", "05"), ("ef", "05")], "it speaks USB3 Vision (GenICam)"),
        ("0e8d", "2000", [("ef", "02"), ("02", "02")], None),
        ("1d6b", "0002", [("09", "00")], None),
    ],
    ids=["ToupTek", "a UVC model", "a development board", "USB3 Vision", "another ef", "a hub"],
)
def test_what_is_a_camera_and_makes_no_video(
    tmp_path: Path, vendor: str, product: str, interfaces: list[tuple[str, str]], says: str | None
) -> None:
    plug_in(tmp_path, "1-2", vendor, product, *interfaces, name="UCMOS05100KPA")
    found = unreadable_cameras(tmp_path)
    if says is None:
        assert found == []
        return
    assert (found[0].bus, found[0].name) == ("1-2", f"UCMOS05100KPA ({vendor}:{product})")
    assert found[0].why.startswith(says)
    assert "not USB video (UVC)" in found[0].why


def test_it_is_listed_with_what_to_do(tmp_path: Path) -> None:
    plug_in(tmp_path / "usb", "3-1.4", "0547", "3016", ("ff", "00"))
    found = list_cameras(tmp_path / "dev", tmp_path / "usb")
    assert found.to_json()["cameras"] == [
        {
            "uri": "usb:3-1.4",
            "name": "a camera on USB (0547:3016)",
            "bus": "3-1.4",
            "error": found.cameras[0].error,
        }
    ]
    text = cameras_text(found)
    assert text.startswith("usb:3-1.4   a camera on USB (0547:3016)\n  it looks like a camera of ToupTek")
    assert "docs/plugins.md" in text


def test_a_run_without_another_camera_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plug_in(tmp_path, "1-2", "0547", "3016", ("ff", "00"))
    listed = list_cameras(tmp_path / "dev", tmp_path)
    monkeypatch.setattr("edgeleuk.capture.discovery.list_cameras", lambda: listed)
    with pytest.raises(
        CameraError, match="no camera was found that can be used: got it looks like a camera of Toup"
    ):
        find_camera(None)


def test_doctor_warns_of_it(tmp_path: Path) -> None:
    plug_in(tmp_path, "1-2", "0547", "3016", ("ff", "00"))
    (listed,) = list_cameras(tmp_path / "dev", tmp_path).to_json()["cameras"]
    finding = _camera(None, listed)
    assert finding.text.startswith("a camera on USB (0547:3016): it looks like a camera of ToupTek")
    assert finding.cure.startswith("use a model that is UVC")


def test_a_machine_without_usb(tmp_path: Path) -> None:
    assert unreadable_cameras(tmp_path / "none") == []
