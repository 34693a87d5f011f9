"""What every stage does, whatever moves it."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

import pytest

from edgeleuk.errors import HardwareError, UsageError
from edgeleuk_firmware_bridge.stage.errors import StoppedError
from edgeleuk_firmware_bridge.stage.open import open_stage
from edgeleuk_firmware_bridge.stage.protocols import StageSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeleuk_firmware_bridge.stage.driver import DrivenStage
    from edgeleuk_firmware_bridge.stage.serial_link import Patience


class StageContract:
    """Tests of one stage; a subclass says which. The stage moves.

    Attributes
    ----------
    url : str
        Its address; or override the fixture `stage_url`.
    reach_um : float
        So far it may move from where it stands, on every axis, up and down.
    far_um : float
        A way along x that takes longer than `stop_after_s`; 0 where it may not go so far.
    stop_after_s : float
        So long after it began, that move is stopped.
    settings : StageSettings
        How it is built.
    patience : Patience or None
        How long it is waited for.
    """

    url = ""
    reach_um = 20.0
    far_um = 0.0
    stop_after_s = 0.3
    settings = StageSettings(settle_s=0.0)
    patience: Patience | None = None

    @pytest.fixture
    def stage_url(self) -> str:
        """Return the address of the stage."""
        if not self.url:
            pytest.skip("no stage is given: pass --stage-url, or set url")
        return self.url

    @pytest.fixture
    def stage(self, stage_url: str) -> Iterator[DrivenStage]:
        """Open the stage, and bring it back to where it stood."""
        with self.opened(stage_url) as stage:
            start = stage.position()
            yield stage
            # A test that broke it has said so.
            with contextlib.suppress(HardwareError):
                stage.move(*start)

    def opened(self, stage_url: str, settings: StageSettings | None = None) -> DrivenStage:
        """Open the stage with the settings of this class, or others."""
        return open_stage(stage_url, settings=settings or self.settings, patience=self.patience)

    def test_it_says_what_it_is(self, stage: DrivenStage) -> None:
        """It names itself, and stands."""
        told = stage.capabilities
        assert told.protocol
        assert told.firmware
        assert not stage.status().locked
        assert len(stage.position()) == len(stage.steps()) == 3

    def test_it_goes_where_it_is_sent_and_says_so(self, stage: DrivenStage) -> None:
        """Each axis goes forth and back, alone and with the others, and nothing else moves."""
        start, reach = stage.position(), self.reach_um
        for way in (
            (reach, reach / 2, -reach / 4),
            (0, 0.6 * reach, -reach / 4),
            (-reach, -reach, reach / 4),
        ):
            place = start.moved(*way)
            stage.move(*place)
            assert stage.position() == pytest.approx(place, abs=self._slack_um(stage))
        here = stage.position()
        stage.move(z_um=start.z_um + reach / 2, wait=False)
        stage.wait()
        there = (here.x_um, here.y_um, start.z_um + reach / 2)
        assert stage.position() == pytest.approx(there, abs=self._slack_um(stage))

    def test_it_knows_where_it_is_when_it_is_opened_again(self, stage_url: str) -> None:
        """Closing moves nothing."""
        with self.opened(stage_url) as stage:
            slack, before = self._slack_um(stage), stage.position()
        with self.opened(stage_url) as stage:
            assert stage.position() == pytest.approx(before, abs=slack)

    def test_a_move_beyond_the_limits_is_refused_before_anything_is_sent(self, stage: DrivenStage) -> None:
        """A place that is none, or beyond a limit, moves no axis."""
        before = stage.steps()
        for um in (float("nan"), float("inf"), self.settings.y.most_um + 1, self.settings.y.least_um - 1):
            with pytest.raises(UsageError, match="beyond the stage's limits"):
                stage.move(before[0] + 10.0, um)
        assert stage.steps() == before

    def test_it_stops_from_another_thread(self, stage: DrivenStage) -> None:
        """Who waits for a move is told that it was stopped; the position stays known."""
        if not stage.capabilities.can_stop:
            with pytest.raises(HardwareError, match="cannot stop"):
                stage.stop()
            return
        if not self.far_um:
            pytest.skip("far_um is 0: no move is long enough to be stopped")
        start = stage.position().x_um
        timer = threading.Timer(self.stop_after_s, stage.stop)
        timer.start()
        with pytest.raises(StoppedError):
            stage.move(start + self.far_um)
        timer.join()
        stage.stand()
        assert 0 < abs(stage.position().x_um - start) < abs(self.far_um)

    def test_a_lamp_that_nobody_watches_is_off(self, stage_url: str) -> None:
        """A lamp takes its level and no other, and is off when the stage is closed."""
        with self.opened(stage_url) as stage:
            # Others may be switches, which know no half.
            for channel in stage.lamp.channels[:1]:
                stage.lamp.set_level(channel, 0.5)
                assert stage.lamp.level(channel) == pytest.approx(0.5, abs=0.02)
                with pytest.raises(UsageError, match="out of range"):
                    stage.lamp.set_level(channel, 1.5)
            with pytest.raises(UsageError, match="no such lamp"):
                stage.lamp.set_level("moon", 0.5)
        with self.opened(stage_url) as stage:
            assert all(stage.lamp.level(channel) == 0 for channel in stage.lamp.channels[:1])

    def test_what_is_closed_is_not_used(self, stage_url: str) -> None:
        """After `close` every call is an error with a sentence, and a second `close` does no harm."""
        stage = self.opened(stage_url)
        stage.close()
        stage.close()
        with pytest.raises(HardwareError, match="closed"):
            stage.position()

    @staticmethod
    def _slack_um(stage: DrivenStage) -> float:
        axes = (stage.settings.x, stage.settings.y, stage.settings.z)
        return 2 * max(axis.um_per_step for axis in axes)
