"""What a machine says of itself, on trees of files: a Raspberry Pi, a Jetson, odd ones, none."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest

from edgeleuk.bench.machine import (
    COMMAND_TIMEOUT_S,
    UNAVAILABLE,
    CpuTime,
    machine_facts,
    others_share,
    read_clocks,
    read_cpu_time,
    read_machine,
    read_state,
)
from edgeleuk.io.kernel import Zone

if TYPE_CHECKING:
    from pathlib import Path

PI = {
    "proc/cpuinfo": "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0b\n\nModel\t: Raspberry Pi 5\n",
    "proc/meminfo": "MemTotal:        8245248 kB\nMemFree: 1 kB\n",
    "proc/loadavg": "0.52 0.58 0.59 1/389 12345\n",
    "proc/stat": "cpu  1000 0 500 8000 300 0 100 100 7 0\ncpu0 1 2 3\n",
    "proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0",
    "etc/os-release": 'NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "61450\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "2400000\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "ondemand\n",
    "sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq": "1500000\n",
    "sys/devices/system/cpu/cpu1/cpufreq/scaling_governor": "ondemand\n",
    "sys/devices/platform/soc/soc:firmware/get_throttled": "50005\n",
}
JETSON = {
    "proc/cpuinfo": "processor : 0\nmodel name : ARMv8 Processor rev 1 (v8l)\n",
    "proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\0",
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal",
    "sys/class/thermal/thermal_zone0/temp": "50125",
    "sys/class/thermal/thermal_zone0/trip_point_0_type": "critical",
    "sys/class/thermal/thermal_zone0/trip_point_0_temp": "104500",
    "sys/class/thermal/thermal_zone0/trip_point_1_type": "passive",
    "sys/class/thermal/thermal_zone0/trip_point_1_temp": "99000",
    # A zone that is switched off shows nothing that could be.
    "sys/class/thermal/thermal_zone1/type": "gpu-thermal",
    "sys/class/thermal/thermal_zone1/temp": "-256000",
}
ODD = {
    "proc/cpuinfo": "::::\n\0\0\nmodel name\n",
    "proc/meminfo": "MemTotal: many kB\n",
    "proc/loadavg": "",
    "proc/stat": "cpu  1 2 three\n",
    "proc/device-tree/model": "",
    "etc/os-release": "PRETTY_NAME=\n\xff\xfe",
    "sys/class/thermal/thermal_zone0/temp": "hot",
    "sys/class/thermal/thermal_zone1/temp": "nan",
    "sys/class/thermal/thermal_zone2/temp": "1e99",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "<unknown>",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "\n",
    "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "-3",
    "sys/devices/platform/soc/soc:firmware/get_throttled": "no",
}


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of commands that is all of PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def planted(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="latin-1")
    return root


def command(folder: Path, name: str, script: str) -> None:
    file = folder / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)


def test_a_raspberry_pi(tmp_path: Path, path: Path) -> None:
    root = planted(tmp_path, PI)
    machine = read_machine(root)
    assert machine.board == "Raspberry Pi 5 Model B Rev 1.0"
    assert machine.cpu == "Cortex-A76"
    assert machine.memory_mb == 8443
    assert machine.system == "Debian GNU/Linux 12 (bookworm)"
    state = read_state(root)
    assert state.zones == (Zone("cpu-thermal", 61.45),)
    assert state.clocks_mhz == (2400.0, 1500.0)
    assert state.governors == ("ondemand",)
    assert state.load_1min == 0.52
    assert state.throttled == 0x50005
    shown = state.printed().to_json()
    assert shown["temperature_c"] == 61.45
    assert shown["clock_mhz"] == 1950.0
    assert shown["throttled"] == "0x50005"
    assert "under-voltage" in shown["throttled_bits"]
    assert shown["tegrastats"] == UNAVAILABLE


@pytest.mark.parametrize(
    ("implementer", "part", "named"),
    [
        ("0x41", "0xd08", "Cortex-A72"),
        ("0x41", "0xfff", "implementer 0x41, part 0xfff"),
        ("0x4e", "0xd08", "implementer 0x4e, part 0xd08"),
    ],
)
def test_names_of_arm_cores(tmp_path: Path, path: Path, implementer: str, part: str, named: str) -> None:
    text = f"processor : 0\nCPU implementer : {implementer}\nCPU part : {part}\n"
    assert read_machine(planted(tmp_path, {"proc/cpuinfo": text})).cpu == named


@pytest.mark.parametrize(
    ("told", "found"),
    [
        ("flags\t\t: fpu sse4_2 avx2 avx512f", "none"),
        ("flags\t\t: avx2 avx512f avx512_vnni", "avx512_vnni"),
        ("flags\t\t: avx2 avx_vnni", "avx_vnni"),
        ("Features\t: fp asimd crc32", "none"),
        ("Features\t: fp asimd asimddp\nFeatures\t: fp asimd", "asimddp"),
        ("processor\t: 0", UNAVAILABLE),
        ("", UNAVAILABLE),
    ],
)
def test_what_a_processor_has_for_int8(tmp_path: Path, path: Path, told: str, found: str) -> None:
    machine = read_machine(planted(tmp_path, {"proc/cpuinfo": f"{told}\n"}))
    assert machine_facts(machine).int8_dot_product == found


def test_vcgencmd_is_asked_before_the_file(tmp_path: Path, path: Path) -> None:
    command(path, "vcgencmd", 'test "$1" = get_throttled && echo throttled=0x4')
    assert read_state(planted(tmp_path, PI)).throttled == 4


@pytest.mark.parametrize(
    "script", ["exit 1", "echo rubbish", "echo throttled=", "echo throttled=-0x1", "kill -9 $$"]
)
def test_a_vcgencmd_that_fails(tmp_path: Path, path: Path, script: str) -> None:
    command(path, "vcgencmd", script)
    assert read_state(tmp_path).throttled is None


def test_a_command_that_is_no_program(tmp_path: Path, path: Path) -> None:
    command(path, "vcgencmd", "")
    (path / "vcgencmd").write_bytes(b"\x00\x01\x02")
    assert read_state(tmp_path).throttled is None


def test_a_jetson(tmp_path: Path, path: Path) -> None:
    command(path, "nvpmodel", "echo 'NV Power Mode: 15W'; echo 0")
    command(path, "tegrastats", "echo 'RAM 2448/7620MB CPU [2%@729]'")
    root = planted(tmp_path, JETSON)
    assert read_machine(root).power_mode == "15W"
    assert read_machine(root).cpu == "ARMv8 Processor rev 1 (v8l)"
    state = read_state(root)
    assert state.zones == (Zone("cpu-thermal", 50.125, 99.0),)
    assert state.tegrastats == "RAM 2448/7620MB CPU [2%@729]"


def test_tegrastats_goes_on_for_ever(tmp_path: Path, path: Path) -> None:
    # A few more lines than are wanted stand for ever, so that no time-out is waited for.
    command(path, "tegrastats", "for n in 1 2 3; do echo line $n; done; exit 124")
    assert read_state(tmp_path).tegrastats == "line 1"
    assert COMMAND_TIMEOUT_S > 0


@pytest.mark.parametrize("files", [{}, ODD], ids=["empty", "odd"])
def test_what_has_no_source_is_unavailable(tmp_path: Path, path: Path, files: dict[str, str]) -> None:
    root = planted(tmp_path, files)
    state = read_state(root)
    shown = state.printed().to_json()
    for key in ("load_1min", "temperature_c", "zones", "clock_mhz", "clocks_mhz", "governor", "throttled"):
        assert shown[key] == UNAVAILABLE, key
    assert shown["throttle_count"] == UNAVAILABLE
    facts = machine_facts(read_machine(root)).to_json()
    for key in ("cpu", "board", "memory_mb", "power_mode"):
        assert facts[key] == UNAVAILABLE, key
    assert read_cpu_time(root).total_s is None
    assert others_share(read_cpu_time(root), read_cpu_time(root)) is None


def test_folders_where_files_are_due(tmp_path: Path, path: Path) -> None:
    for name in ("proc/stat", "proc/cpuinfo", "sys/class/thermal/thermal_zone0/temp"):
        (tmp_path / name).mkdir(parents=True)
    assert read_state(tmp_path).zones == ()
    assert read_machine(tmp_path).cpu is None


def test_clocks_of_a_machine_without_cpufreq(tmp_path: Path) -> None:
    root = planted(tmp_path, {"proc/cpuinfo": "cpu MHz\t\t: 2596.104\n\ncpu MHz\t: 1200.0\ncpu MHz : -1\n"})
    assert read_clocks(root) == (2596.104, 1200.0)


def test_the_throttle_counts_of_all_cores_are_added(tmp_path: Path, path: Path) -> None:
    folder = "sys/devices/system/cpu/cpu{}/thermal_throttle/core_throttle_count"
    assert read_state(planted(tmp_path, {folder.format(0): "3", folder.format(1): "4"})).throttle_count == 7


def test_other_packages_make_another_machine(tmp_path: Path, path: Path) -> None:
    from dataclasses import replace

    machine = read_machine(tmp_path)
    assert machine.key() == read_machine(tmp_path).key()
    assert replace(machine, packages={"numpy": "0"}).key() != machine.key()
    assert replace(machine, cores=machine.cores + 1).key() != machine.key()


def test_busy_time_is_all_but_idle_and_waiting(tmp_path: Path) -> None:
    time = read_cpu_time(planted(tmp_path, PI))
    assert time.busy_s is not None
    assert time.total_s is not None
    # 1000 + 500 + 100 + 100 of 10,000 ticks; guests (7) are users already.
    assert time.busy_s / time.total_s == pytest.approx(0.17)


@pytest.mark.parametrize(
    ("busy_s", "own_s", "expected"),
    [(10.0, 10.0, 0.0), (10.0, 2.6, 0.37), (20.0, 0.0, 1.0), (3.0, 4.0, 0.0)],
)
def test_what_others_used(busy_s: float, own_s: float, expected: float) -> None:
    share = others_share(CpuTime(5.0, 100.0, 1.0), CpuTime(5.0 + busy_s, 120.0, 1.0 + own_s))
    assert share == pytest.approx(expected)


def test_without_time_nothing_is_said_of_others() -> None:
    assert others_share(CpuTime(1, 2, 0), CpuTime(1, 2, 0)) is None
