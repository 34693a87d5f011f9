"""Fuzz both stage protocols with atheris: no exception, nothing hoarded, no position out of thin air.

By hand, for as long as is wanted; ``make fuzz`` runs it for ten minutes:

    python tests/fuzz/fuzz_stage_protocols.py -max_total_time=600
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["edgeleuk_firmware_bridge"]):
    from edgeleuk_firmware_bridge.stage.grbl import Grbl, Line, Realtime, Status
    from edgeleuk_firmware_bridge.stage.protocols import Steps
    from edgeleuk_firmware_bridge.stage.sangaboard import Ask, Sangaboard
    from edgeleuk_firmware_bridge.stage.state_machine import LONGEST_LINE, Answered, DialogueState

QUESTIONS = [*((Sangaboard, ask) for ask in Ask), *((Grbl, ask) for ask in (*Line, Realtime.STATUS))]
SYNCS = {Sangaboard: Ask.DELAY, Grbl: Line.MODES}


def one_input(data: bytes) -> None:
    """Ask a question, and take the input for the board's answer, in pieces, with time-outs between."""
    provider = atheris.FuzzedDataProvider(data)
    kind, question = QUESTIONS[provider.ConsumeIntInRange(0, len(QUESTIONS) - 1)]
    dialogue = kind()
    dialogue.ask(question)
    while provider.remaining_bytes():
        piece = provider.ConsumeBytes(provider.ConsumeIntInRange(1, 64))
        for event in dialogue.receive(piece):
            if not isinstance(event, Answered):
                continue
            if event.command is Ask.POSITION:
                assert isinstance(event.value, Steps)
            if event.command is Realtime.STATUS:
                assert isinstance(event.value, Status)
        assert len(dialogue._lines._rest) <= LONGEST_LINE
        if (
            dialogue.state in {DialogueState.ASKED, DialogueState.DOUBTFUL, DialogueState.SYNCING}
            and provider.ConsumeIntInRange(0, 15) == 0
        ):
            dialogue.timed_out()
        if dialogue.state is DialogueState.READY:
            dialogue.ask(question)
        elif dialogue.state is DialogueState.ADRIFT:
            dialogue.sync(SYNCS[kind])


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
