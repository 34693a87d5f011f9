"""The process in which TFLite Micro runs: ``python -m ... FOLDER ARENA_BYTES RUNS OUTPUTS``; see `tflm`."""

from __future__ import annotations

import sys
from pathlib import Path

from edgeleuk_firmware_bridge.mcu.tflm import INPUTS, MODEL, OUTPUTS


def main() -> None:
    """Lay a network out; say what of the arena it used, or run it on the folder's inputs."""
    import numpy as np
    from tflite_micro import runtime

    folder, (arena_bytes, runs, outputs) = Path(sys.argv[1]), map(int, sys.argv[2:])
    model = (folder / MODEL).read_bytes()
    try:
        interpreter = runtime.Interpreter.from_bytes(model, arena_size=arena_bytes)
        if not runs:
            interpreter.print_allocations()
            return
        shape = tuple(interpreter.get_input_details(0)["shape"])
        inputs = np.fromfile(folder / INPUTS, np.int8).reshape(runs, *shape)
        with (folder / OUTPUTS).open("wb") as file:
            for tensor in inputs:
                interpreter.set_input(tensor, 0)
                interpreter.invoke()
                for index in range(outputs):
                    file.write(interpreter.get_output(index).tobytes())
    except RuntimeError as error:
        # TFLite Micro has told the reason on standard error already.
        sys.exit(f"RuntimeError: {error}")


if __name__ == "__main__":
    main()
