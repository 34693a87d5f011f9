"""1,000 moves over a wire that fails: no wrong position may be reported, and every failure has a name.

Of the answers of a simulated board, on TCP, 1 % come later than the time-out, some are garbled or lost,
and now and then the board is reset. After a failure the stage is opened anew. Prints each failure on standard
error and JSON on standard output; exits 3 when a bar is missed.

    python tests/bench/link_faults.py [--moves 1000] [--protocol grbl]
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections import Counter
from typing import TYPE_CHECKING

from edgeleuk.errors import HardwareError
from edgeleuk_firmware_bridge.simulation.faults import FaultyWire, WireFault, WireFaultKind
from edgeleuk_firmware_bridge.simulation.grbl import GrblSimulator
from edgeleuk_firmware_bridge.simulation.sangaboard import SangaboardSimulator
from edgeleuk_firmware_bridge.simulation.serving import serve_tcp
from edgeleuk_firmware_bridge.stage.open import open_stage
from edgeleuk_firmware_bridge.stage.protocols import StageSettings
from edgeleuk_firmware_bridge.stage.serial_link import Patience

if TYPE_CHECKING:
    from edgeleuk_firmware_bridge.stage.driver import DrivenStage

FAULTS = [
    WireFault(WireFaultKind.DELAY, 0.01, 0.25),
    WireFault(WireFaultKind.GARBAGE, 0.01),
    WireFault(WireFaultKind.DROP, 0.005),
    WireFault(WireFaultKind.RESET, 0.001, 0.01),
]
FAST = {110: 6000, 111: 6000, 112: 6000, 120: 5000, 121: 5000, 122: 5000}
PATIENCE = Patience(answer_s=0.1, boot_s=5.0, arrive_s=1.0)


def opened(url: str, names: Counter[str]) -> DrivenStage:
    while True:
        try:
            return open_stage(url, settings=StageSettings(settle_s=0.0), patience=PATIENCE)
        except HardwareError as error:
            names[f"opening: {type(error).__name__}"] += 1


def main() -> None:
    words = argparse.ArgumentParser()
    words.add_argument("--moves", type=int, default=1000)
    words.add_argument("--protocol", choices=["sangaboard", "grbl"], default="sangaboard")
    asked = words.parse_args()
    grbl = asked.protocol == "grbl"
    board = GrblSimulator(settings=FAST) if grbl else SangaboardSimulator(step_delay_us=50)
    wire = FaultyWire(board, FAULTS, seed=1)
    slack, names, wrong, done = (2 if grbl else 0), Counter[str](), 0, 0
    places = random.Random(2)
    with serve_tcp(wire) as server:
        stage = opened(server.url, names)
        for _ in range(asked.moves):
            place = [float(places.randrange(-50, 50)) for _ in range(3)]
            try:
                stage.move(*place)
                steps = stage.steps()
                done += 1
                wrong += any(abs(a - b) > slack for a, b in zip(steps, board.position(), strict=True))
            except HardwareError as error:
                names[type(error).__name__] += 1
                print(error, file=sys.stderr)
                stage.close()
                stage = opened(server.url, names)
        stage.close()
    result = {
        "protocol": asked.protocol,
        "moves": asked.moves,
        "arrived": done,
        "wrong_positions": wrong,
        "failures": dict(names),
        "struck": {kind.value: count for kind, count in wire.struck.items()},
    }
    print(json.dumps(result, indent=1))
    sys.exit(3 if wrong or done < asked.moves * 0.5 else 0)


if __name__ == "__main__":
    main()
