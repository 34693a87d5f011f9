"""Firmware of others, by transcript: what speaks as GRBL or a Sangaboard is used, and all else is named."""

from __future__ import annotations

import pytest
from contract.transcripts import Transcript, grbl, sangaboard, served

from edgeleuk.errors import HardwareError
from edgeleuk_firmware_bridge.stage.open import open_stage
from edgeleuk_firmware_bridge.stage.serial_link import Patience

QUICK = Patience(answer_s=0.2, boot_s=1.2, arrive_s=1.0, home_s=3.0)
# For what will not answer.
HASTY = Patience(answer_s=0.1, boot_s=0.6)
GRBL_BUILD = ("[VER:1.1f.20170801:]", "[OPT:V,15,128]")
GRBLS = {
    "four axes": grbl(
        ("Grbl 1.1f ['$' for help]",), GRBL_BUILD, status="<Idle|MPos:0.000,0.000,0.000,5.000|FS:0,0>"
    ),
    "FluidNC": grbl(
        (
            "rst:0x1 (POWERON_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)",
            "[MSG:INFO: FluidNC v3.7.8 https://github.com/bdring/FluidNC]",
            "[MSG:INFO: Machine stage]",
            "Grbl 3.7 [FluidNC v3.7.8 (wifi) '$' for help]",
        ),
        ("[VER:3.7 FluidNC v3.7.8:]", "[OPT:PHS]", "[MSG: Machine: stage]"),
        status="<Idle|MPos:0.000,0.000,0.000|FS:0,0|WCO:0.000,0.000,0.000>",
        refusal=("[MSG:ERR: Bad GCode: VERSION]", "error:2"),
    ),
    "FluidNC, settings by name": grbl(
        ("Grbl 3.7 [FluidNC v3.7.8 (wifi) '$' for help]",),
        ("[VER:3.7 FluidNC v3.7.8:]", "[OPT:PHS]"),
        settings=("$Sta/SSID=lab", "$Message/Level=Info", "$Report/Interval=0"),
    ),
    "Grbl_ESP32": grbl(
        ("[MSG:Grbl_ESP32 Ver 1.3a Date 20210203]", "[MSG:No spindle]", "Grbl 1.3a ['$' for help]"),
        ("[VER:1.3a.20210203:]", "[OPT:VMPHW]"),
    ),
    "uCNC": grbl(("Grbl 1.1 [uCNC v1.8.11 '$' for help]",), ("[VER: uCNC 1.8.11 - AVR]", "[OPT:V,15,128,3]")),
    "MKS DLC32": grbl(
        ("[MSG:Using machine:MKS DLC32 V2.1]", "Grbl 1.1f ['$' for help]"), ("[VER:1.1h.2022050901:]",)
    ),
    "grblHAL": grbl(
        ("GrblHAL 1.1f ['$' or '$HELP' for help]",),
        ("[VER:1.1f.20240101:]", "[NEWOPT:ENUMS,RT+,ES]", "[FIRMWARE:grblHAL]", "[BOARD:Generic]"),
    ),
}
SANGABOARDS = {
    "1.0.4": sangaboard("Sangaboard Firmware v1.0.4", "Sangaboard v0.5.5"),
    "1.0.1-dev": sangaboard("Sangaboard Firmware v1.0.1-dev", "Sangaboard v0.5.x"),
    "2.0": sangaboard("Sangaboard Firmware v2.0", "Sangaboard v0.5.5"),
}
OTHERS = {
    "Marlin": Transcript(("start", "echo:Marlin 2.1.2.1"), other=('echo:Unknown command: "{}"', "ok")),
    "Marlin, silent at first": Transcript(other=('echo:Unknown command: "{}"', "ok")),
    "TinyG": Transcript(('{"r":{"fv":0.970},"f":[1,0,0,8066]}',), other=('{"r":{},"f":[2,108,8,1]}',)),
    "UC2": Transcript(("{'setup':'done'}",), other=("++", '{"error":"Cannot parse JSON"}', "--")),
    "an echo": Transcript(other=("{}",)),
    "a login": Transcript(("Debian GNU/Linux 12 pi ttyS0",), other=("{}", "Password: ")),
}


@pytest.mark.parametrize("name", GRBLS)
def test_what_answers_as_grbl_does(name: str) -> None:
    with served(GRBLS[name]) as url, open_stage(url, patience=QUICK) as stage:
        assert stage.capabilities.protocol == "grbl"
        assert stage.status().state == "Idle"
        assert not stage.status().locked
        assert stage.steps() == (0, 0, 0)


@pytest.mark.parametrize("name", SANGABOARDS)
def test_what_answers_as_a_sangaboard_does(name: str) -> None:
    with served(SANGABOARDS[name]) as url, open_stage(url, patience=QUICK) as stage:
        assert stage.capabilities.firmware.endswith(f"v{name}")
        assert stage.status().state == "idle"
        assert stage.lamp.level("cc") == 0.5
        assert not stage.unlock()


@pytest.mark.parametrize("answer", [("Type 'help' for a list of commands.",), ("0.50",)])
def test_a_sangaboard_that_does_not_tell_its_lamp_has_none(answer: tuple[str, ...]) -> None:
    board = sangaboard("Sangaboard Firmware v1.0.4", "Sangaboard v0.5.5", led_cc_query=answer)
    with served(board) as url, open_stage(url, patience=QUICK) as stage:
        assert stage.lamp.channels == ()


@pytest.mark.parametrize("name", OTHERS)
def test_another_device_is_named(name: str) -> None:
    with (
        served(OTHERS[name]) as url,
        pytest.raises(
            HardwareError, match=r"another device is at socket.*: got ['\"].+, allowed a Sangaboard"
        ),
    ):
        open_stage(url, patience=HASTY)


def test_firmware_that_is_grbl_in_part_is_named() -> None:
    smoothie = grbl(("Smoothie", "ok"), ("Build version: edge-94de12c",))
    with (
        served(smoothie) as url,
        pytest.raises(HardwareError, match=r"as GRBL does, but not to \$I: allowed"),
    ):
        open_stage(url, patience=QUICK)


def test_a_device_that_says_nothing() -> None:
    with served(Transcript()) as url, pytest.raises(HardwareError, match="silent, also after a reset"):
        open_stage(url, patience=HASTY)
