"""What every camera does, whatever it is."""

from __future__ import annotations

import itertools
import threading
import time
from typing import TYPE_CHECKING

import pytest

from edgeleuk.capture import FrameSource, decoded, open_source
from edgeleuk.capture.base import SourceEvent
from edgeleuk.errors import CameraError
from edgeleuk.frames import Frame
from edgeleuk.io.uris import public_uri

if TYPE_CHECKING:
    from edgeleuk.capture import EncodedFrame

_CLOCKS_AGREE_S = 1.0


class CameraContract:
    """Tests of one camera; a subclass says which.

    Attributes
    ----------
    uri : str
        Its address; or override the fixture `camera_uri`.
    pictures : int
        How many are taken.
    close_within_s : float
        So long after `close` its frames have ended, whatever they waited for.
    """

    uri = ""
    pictures = 5
    close_within_s = 10.0

    @pytest.fixture
    def camera_uri(self) -> str:
        """Return the address of the camera."""
        if not self.uri:
            pytest.skip("no camera is given: pass --camera-uri, or set uri")
        return self.uri

    def test_it_sends_pictures_in_order_with_their_times(self, camera_uri: str) -> None:
        """Pictures are RGB, numbered upwards, and stamped when they arrived."""
        before = time.time(), time.monotonic()
        with open_source(camera_uri) as source:
            frames = [decoded(item) for item in _taken(source, self.pictures)]
        after = time.time(), time.monotonic()
        assert frames, "it sent no picture"
        # A file may hold fewer.
        assert len(frames) == self.pictures or not source.live
        for frame in frames:
            assert isinstance(frame, Frame)
            assert before[0] - _CLOCKS_AGREE_S <= frame.captured_at <= after[0] + _CLOCKS_AGREE_S
            assert before[1] - _CLOCKS_AGREE_S <= frame.captured_monotonic <= after[1] + _CLOCKS_AGREE_S
            assert frame.px_per_um is None or frame.px_per_um > 0
            assert frame.source == public_uri(frame.source), "it shows a password"
        for earlier, later in itertools.pairwise(frames):
            assert earlier.sequence < later.sequence
            assert earlier.captured_monotonic <= later.captured_monotonic

    def test_a_picture_is_not_changed_by_the_next(self, camera_uri: str) -> None:
        """A picture is its taker's own: no buffer of the camera's is written over behind its back."""
        with open_source(camera_uri) as source:
            first, *rest = (decoded(item) for item in _taken(source, self.pictures))
            kept = first.pixels.copy()
            del rest
            assert (first.pixels == kept).all()

    def test_it_says_what_it_is(self, camera_uri: str) -> None:
        """It has an address that shows no password, and says whether it waits for its reader."""
        with open_source(camera_uri) as source:
            assert isinstance(source.live, bool)
            assert source.uri == public_uri(source.uri), "it shows a password"

    def test_closing_ends_its_pictures(self, camera_uri: str) -> None:
        """`close`, from another thread, ends whoever waits for a picture; a second one does no harm."""
        source = open_source(camera_uri)
        begun, ended = threading.Event(), threading.Event()
        failures: list[BaseException] = []

        def read() -> None:
            try:
                for _ in source.frames():
                    begun.set()
            except CameraError:
                # It may say that it was closed.
                pass
            except BaseException as error:  # noqa: BLE001 - told by the test's own thread
                failures.append(error)
            finally:
                begun.set()
                ended.set()

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        assert begun.wait(30), "it sent no picture within 30 s"
        source.close()
        assert ended.wait(self.close_within_s), (
            f"it still waits {self.close_within_s:g} s after it was closed"
        )
        reader.join()
        assert not failures, failures
        source.close()

    def test_it_opens_again(self, camera_uri: str) -> None:
        """What was closed is free: a camera that was lost is opened anew."""
        for _ in range(2):
            with open_source(camera_uri) as source:
                assert next(iter(_taken(source, 1)), None) is not None


def _taken(source: FrameSource, most: int) -> list[Frame | EncodedFrame]:
    pictures = (item for item in source.frames() if not isinstance(item, SourceEvent))
    return list(itertools.islice(pictures, most))
