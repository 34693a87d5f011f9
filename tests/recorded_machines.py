"""Six sound machines, in the formats of real ones; figures that no check looks at are left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recording import (
    LINK,
    NOW_S,
    STAGE_URL,
    USB_CAMERA,
    Recorded,
    cameras,
    cores,
    disk,
    kernel,
    litert,
    memory,
    onnxruntime,
    opencv,
    probe,
    release,
    says,
    sent,
    service,
    software,
    stage_info,
    time_of,
    user,
    written,
    x86_cores,
)

from edgeleuk.io.programs import Said

if TYPE_CHECKING:
    from recording import Content

# A camera on USB: the interface's folder lies in the device's, where the speed is.
USB_CAMERA_FILES: dict[str, Content] = {
    "dev/video0": "",
    "dev/v4l/by-id/usb-Sonix_HD_Microscope_SN0001-video-index0": f"{LINK}../../video0",
    "sys/bus/usb/devices/1-1.2/speed": "480\n",
    "sys/bus/usb/devices/1-1.2/product": "HD Microscope\n",
    "sys/bus/usb/devices/1-1.2/1-1.2:1.0/bInterfaceClass": "0e\n",
    "sys/bus/usb/devices/1-1.2/1-1.2:1.0/driver/uevent": "",
    "sys/bus/usb/devices/1-1.2:1.0": f"{LINK}1-1.2/1-1.2:1.0",
    "sys/class/video4linux/video0/name": "HD Microscope: HD Microscope\n",
    "sys/class/video4linux/video0/device": f"{LINK}../../../bus/usb/devices/1-1.2/1-1.2:1.0",
}
USB_BOARD_FILES: dict[str, Content] = {
    "dev/ttyUSB0": "",
    "dev/serial/by-id/usb-1a86_USB_Serial-if00-port0": f"{LINK}../../ttyUSB0",
}
ACCOUNT_FILES: dict[str, Content] = {
    "etc/group": "root:x:0:\nadm:x:4:ada\ndialout:x:20:ada\nvideo:x:44:ada\nada:x:1000:\n",
    "usr/share/zoneinfo/Europe/Berlin": "TZif2",
}
GERMAN = {"LANG": "de_DE.UTF-8", "USER": "ada", "HOME": "/home/ada"}
LOCALE = {"locale": says("LANG=de_DE.UTF-8", 'LC_CTYPE="de_DE.UTF-8"'), "locale charmap": says("UTF-8")}
PC_PROGRAMS: dict[str, Said] = {
    **opencv("SSE SSE2 SSE3"),
    **litert(),
    **onnxruntime(),
    **cameras(USB_CAMERA),
    **sent(),
    **written(410.0, 1.9),
    **time_of(),
    **user(),
    **kernel(),
    **LOCALE,
}

PI_4 = Recorded(
    files={
        **USB_CAMERA_FILES,
        **USB_BOARD_FILES,
        **ACCOUNT_FILES,
        # The decoders of the board, which are video devices as well.
        "dev/video10": "",
        "dev/video11": "",
        "proc/cpuinfo": cores(
            4,
            "fp asimd evtstrm crc32 cpuid",
            "0xd08",
            "Revision\t: c03114\nSerial\t\t: 10000000abcdef01\nModel\t\t: Raspberry Pi 4 Model B Rev 1.4\n",
        ),
        "proc/meminfo": memory(3_880_960, 3_106_120),
        "proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\0",
        "proc/self/mounts": "/dev/mmcblk0p2 / ext4 rw,noatime 0 0\n"
        "/dev/mmcblk0p1 /boot/firmware vfat rw 0 0\n",
        "proc/sys/kernel/hostname": "stand\n",
        "etc/os-release": release("Debian GNU/Linux 12 (bookworm)"),
        "sys/block/mmcblk0/device/type": "SD\n",
        "sys/fs/ext4/mmcblk0p2/errors_count": "0\n",
        "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
        "sys/class/thermal/thermal_zone0/temp": "52095\n",
        "sys/class/hwmon/hwmon1/name": "rpi_volt\n",
        "sys/class/hwmon/hwmon1/in0_lcrit_alarm": "0\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "ondemand\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_driver": "cpufreq-dt\n",
    },
    programs={
        **software(),
        **opencv(),
        **litert(),
        **onnxruntime(),
        **cameras(USB_CAMERA),
        **sent(),
        **probe("picamera", {"installed": False}),
        **stage_info(),
        **disk("/dev/mmcblk0p2"),
        **written(),
        **time_of(),
        **user(),
        **service(),
        **kernel(),
        **LOCALE,
        "vcgencmd get_throttled": says("throttled=0x0"),
    },
    environ=GERMAN,
    stage=STAGE_URL,
)

PI_5 = Recorded(
    files={
        **ACCOUNT_FILES,
        # Nodes of the chain that libcamera sets up.
        "dev/video0": "",
        "dev/video20": "",
        "proc/cpuinfo": cores(
            4,
            "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop"
            " asimddp",
            "0xd0b",
            "Revision\t: d04170\nSerial\t\t: 2a1b3c4d5e6f7081\nModel\t\t: Raspberry Pi 5 Model B Rev 1.0\n",
        ),
        "proc/meminfo": memory(8_245_248, 7_300_112, 2_097_136, 2_097_136),
        "proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0",
        "proc/device-tree/chosen/power/max_current": (5000).to_bytes(4, "big"),
        "proc/self/mounts": "/dev/nvme0n1p2 / ext4 rw,noatime 0 0\n",
        "etc/os-release": release("Debian GNU/Linux 13 (trixie)"),
        "sys/class/video4linux/v4l-subdev0/name": "rp1-cfe-csi2\n",
        "sys/class/video4linux/v4l-subdev3/name": "imx708_wide 10-001a\n",
        "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
        "sys/class/thermal/thermal_zone0/temp": "58900\n",
        "sys/class/thermal/thermal_zone0/trip_point_0_type": "critical\n",
        "sys/class/thermal/thermal_zone0/trip_point_0_temp": "110000\n",
        "sys/class/hwmon/hwmon3/name": "rpi_volt\n",
        "sys/class/hwmon/hwmon3/in0_lcrit_alarm": "0\n",
        "sys/class/rtc/rtc0/since_epoch": f"{NOW_S + 1}\n",
        "sys/class/rtc/rtc0/name": "rpi-rtc soc@107c000000:rpi_rtc\n",
        "sys/fs/ext4/nvme0n1p2/errors_count": "0\n",
        "usr/lib/python3/dist-packages/picamera2/__init__.py": "",
    },
    programs={
        **software("3.13.5", glibc="2.41"),
        **opencv(),
        **litert(ms={"int8": 9.1, "float32": 16.4}),
        **onnxruntime(installed=False),
        **cameras(
            {
                "uri": "picamera://0",
                "name": "imx708_wide",
                "formats": [],
                "controls": [],
                "node": None,
                "error": None,
            }
        ),
        **sent("picamera://0", format="BGR888"),
        **probe("picamera", {"installed": True, "cameras": ["imx708_wide"]}),
        **disk("/dev/nvme0n1p2"),
        **written(402.0, 2.2),
        **time_of(),
        **user(),
        **kernel("imx708 10-001a: camera module ID 0x0301"),
        **LOCALE,
        "vcgencmd get_throttled": says("throttled=0x0"),
    },
    environ=GERMAN,
)

JETSON = Recorded(
    files={
        **USB_CAMERA_FILES,
        **ACCOUNT_FILES,
        "dev/ttyACM0": "",
        "dev/serial/by-id/usb-Arduino_Uno_75633-if00": f"{LINK}../../ttyACM0",
        "proc/cpuinfo": cores(
            6,
            "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop"
            " asimddp uscat ilrcpc flagm paca pacg",
            "0xd42",
        ),
        "proc/meminfo": memory(7_802_888, 5_204_332, 3_901_440, 3_901_440),
        "proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\0",
        "proc/self/mounts": "/dev/nvme0n1p1 / ext4 rw,relatime 0 0\n",
        "etc/os-release": release("Ubuntu 22.04.5 LTS"),
        "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic\n",
        "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
        "sys/class/thermal/thermal_zone0/temp": "51125\n",
        "sys/class/thermal/thermal_zone0/trip_point_1_type": "passive\n",
        "sys/class/thermal/thermal_zone0/trip_point_1_temp": "99000\n",
        # A zone that is switched off.
        "sys/class/thermal/thermal_zone1/type": "gpu-thermal\n",
        "sys/class/thermal/thermal_zone1/temp": "-256000\n",
        "sys/class/hwmon/hwmon0/name": "soctherm_oc\n",
        "sys/class/hwmon/hwmon0/oc1_event_cnt": "0\n",
        "sys/class/hwmon/hwmon0/oc1_throt_en": "1\n",
        "sys/class/hwmon/hwmon0/oc3_event_cnt": "0\n",
        "sys/class/rtc/rtc0/since_epoch": f"{NOW_S}\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "schedutil\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_driver": "tegra194\n",
    },
    programs={
        **PC_PROGRAMS,
        **software("3.10.12", glibc="2.35"),
        **stage_info(protocol="grbl", firmware="1.1h", board="GRBL"),
        **disk("/dev/nvme0n1p1"),
        "nvpmodel -q": says("NV Power Mode: 15W", "0"),
        "systemctl is-active ModemManager": Said(4, "inactive\n"),
    },
    environ=GERMAN,
    stage="serial:///dev/serial/by-id/usb-Arduino_Uno_75633-if00",
)

LAPTOP = Recorded(
    files={
        **USB_CAMERA_FILES,
        **ACCOUNT_FILES,
        "proc/cpuinfo": x86_cores(
            16, "12th Gen Intel(R) Core(TM) i7-1260P", "fpu sse4_2 avx avx2 fma avx_vnni sha_ni serialize"
        ),
        "proc/meminfo": memory(16_069_024, 9_411_204, 8_388_604, 7_100_000),
        "proc/self/mounts": "/dev/nvme0n1p2 / ext4 rw,relatime 0 0\ntmpfs /tmp tmpfs rw 0 0\n",
        "etc/os-release": release("Ubuntu 24.04.2 LTS"),
        "sys/devices/virtual/dmi/id/product_name": "21CCS5KT00\n",
        "sys/class/power_supply/AC/type": "Mains\n",
        "sys/class/power_supply/AC/online": "1\n",
        "sys/class/power_supply/BAT0/type": "Battery\n",
        "sys/class/power_supply/BAT0/status": "Not charging\n",
        "sys/class/power_supply/BAT0/capacity": "80\n",
        # A mouse, whose battery is none of the laptop's.
        "sys/class/power_supply/hidpp_battery_0/type": "Battery\n",
        "sys/class/power_supply/hidpp_battery_0/scope": "Device\n",
        "sys/class/power_supply/hidpp_battery_0/status": "Discharging\n",
        "sys/class/thermal/thermal_zone0/type": "acpitz\n",
        "sys/class/thermal/thermal_zone0/temp": "62000\n",
        "sys/class/rtc/rtc0/since_epoch": f"{NOW_S}\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_driver": "intel_pstate\n",
        "sys/fs/ext4/nvme0n1p2/errors_count": "0\n",
        "sys/fs/ext4/loop0/errors_count": "3\n",
    },
    programs={
        **PC_PROGRAMS,
        **software("3.12.3", "x86_64", "2.39"),
        **disk("/dev/nvme0n1p2"),
        # The desktop gives the camera to who sits at it: no group is needed.
        **user("ada adm sudo"),
        **service("inactive", "dead", enabled="", load="not-found"),
        **kernel("uvcvideo 1-8:1.1: Found UVC 1.10 device Integrated Camera (04f2:b78e)"),
        "systemctl is-active ModemManager": says("active"),
    },
    environ={"LANG": "en_GB.UTF-8", "LC_TIME": "de_DE.UTF-8", "USER": "ada", "HOME": "/home/ada"},
)

MINI_PC = Recorded(
    files={
        **USB_CAMERA_FILES,
        **USB_BOARD_FILES,
        **ACCOUNT_FILES,
        "proc/cpuinfo": x86_cores(4, "Intel(R) N100", "fpu sse4_2 avx avx2 fma avx_vnni"),
        "proc/meminfo": memory(7_900_112, 6_804_112, 999_420, 999_420),
        "proc/self/mounts": "/dev/mmcblk0p2 / ext4 rw,relatime 0 0\n",
        "etc/os-release": release("Debian GNU/Linux 12 (bookworm)"),
        "sys/devices/virtual/dmi/id/product_name": "MINI S12\n",
        "sys/block/mmcblk0/device/type": "MMC\n",
        "sys/block/mmcblk0/device/life_time": "0x02 0x01\n",
        "sys/block/mmcblk0/device/pre_eol_info": "0x01\n",
        "sys/class/thermal/thermal_zone0/type": "x86_pkg_temp\n",
        "sys/class/thermal/thermal_zone0/temp": "47000\n",
        "sys/class/rtc/rtc0/since_epoch": f"{NOW_S}\n",
        "sys/fs/ext4/mmcblk0p2/errors_count": "0\n",
    },
    programs={
        **PC_PROGRAMS,
        **software("3.11.2", "x86_64"),
        **stage_info(),
        **disk("/dev/mmcblk0p2"),
    },
    environ=GERMAN,
    stage=STAGE_URL,
)

CONTAINER = Recorded(
    files={
        ".dockerenv": "",
        "proc/cpuinfo": x86_cores(2, "AMD EPYC", "fpu sse4_2 avx avx2 fma"),
        "proc/meminfo": memory(4_032_112, 3_204_112, 0, 0),
        "proc/self/mounts": "overlay / overlay rw,relatime 0 0\n"
        "/dev/vda1 /home/ada/runs ext4 rw,relatime 0 0\n",
        "etc/os-release": release("Debian GNU/Linux 12 (bookworm)"),
    },
    programs={
        **dict.fromkeys(service(), Said(1, "", "System has not been booted with systemd\n")),
        **software("3.11.13", "x86_64"),
        **opencv("SSE SSE2 SSE3"),
        **litert(),
        **onnxruntime(installed=False),
        **cameras(),
        **written(210.0, 3.3),
        **disk("/dev/vda1", place="/home/ada/runs"),
        "id -un": says("root"),
        "date +%s": says(str(NOW_S)),
        "dmesg": Said(1, "", "dmesg: read kernel buffer failed: Operation not permitted\n"),
    },
)

MACHINES = {
    "pi 4": PI_4,
    "pi 5": PI_5,
    "jetson orin": JETSON,
    "laptop": LAPTOP,
    "mini pc": MINI_PC,
    "container": CONTAINER,
}
