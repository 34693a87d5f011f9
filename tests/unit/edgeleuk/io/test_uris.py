"""No password is seen: not in a record, not in an error, however badly its address is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgeleuk.capture import open_source
from edgeleuk.errors import EdgeleukError
from edgeleuk.io.uris import public_pipeline, public_text, public_uri

if TYPE_CHECKING:
    from collections.abc import Callable

    from outcome import Outcome

SECRET = "S3CRET"

SHOWN = {
    "rtsp://admin:S3/CRET@127.0.0.1:1/x": "rtsp://admin:***@127.0.0.1:1/x",
    "rtsp://admin:S3?CRET@h/x": "rtsp://admin:***@h/x",
    "rtsp://admin:12?CRET@h/x": "rtsp://admin:***@h/x",
    "rtsp://admin:S3#CR@ET@h/x?channel=1": "rtsp://admin:***@h/x?channel=1",
    "rtsp://S3CRET@h/": "rtsp://***@h/",
    "rtsp:/admin:S3CRET@h/x": "rtsp:***@h/x",
    "admin:S3CRET@h/x": "admin:***@h/x",
    "http://h/video.cgi?loginuse=admin&loginpas=S3CRET": "http://h/video.cgi?loginuse=admin&loginpas=***",
    "http://h/?unknown=S3CRET&resolution=640x480": "http://h/?unknown=***&resolution=640x480",
    "http://h/?S3CRET": "http://h/?***",
    "http://h/?camera=http://a:S3CRET@b": "http://h/?camera=***",
    "http://h/x#S3CRET": "http://h/x#***",
    "rtsp://h:554/user=admin&password=S3CRET&channel=1": "rtsp://h:554/user=admin&password=***&channel=1",
    "rtsp://h/user=a_password=S3CRET_channel=1.sdp?real_stream": "rtsp://h/user=a_password=***?real_stream",
    "http://u:S3CRET@[::1]:80/a?action=stream": "http://u:***@[::1]:80/a?action=stream",
    "virtual://?seed=3&width=640&scenario=/a/b.toml": "virtual://?seed=3&width=640&scenario=/a/b.toml",
    "v4l2:///dev/v4l/by-path/pci-0000:00:14.0-usb-0:1": "v4l2:///dev/v4l/by-path/pci-0000:00:14.0-usb-0:1",
    "file:///data/a b?c=d.mp4": "file:///data/a b?c=d.mp4",
    "gstreamer:rtspsrc location=rtsp://a:S3 C@RET@h/ ! appsink": "gstreamer:rtspsrc location=rtsp://a:***@h/"
    " ! appsink",
}


@pytest.mark.parametrize(("uri", "public"), SHOWN.items())
def test_what_may_be_shown_of_an_address(uri: str, public: str) -> None:
    assert public_uri(uri) == public
    assert public_uri(public) == public


@example("http", "@0#", "/live?channel=1")
@given(
    st.sampled_from(["http", "https", "rtsp", "rtmp", "RTSP"]),
    st.text("abcXYZ019/@:?#&=;%!$ .-_", max_size=12),
    st.sampled_from(["/", "/live?channel=1", ":554/stream", "", "/a?action=stream"]),
)
def test_no_password_is_seen_whatever_it_is_made_of(scheme: str, filling: str, rest: str) -> None:
    password = f"Q{filling}Q"
    assert "Q" not in public_uri(f"{scheme}://admin:{password}@10.0.0.5{rest}")


def test_a_pipeline_shows_neither_passwords_nor_headers() -> None:
    pipeline = (
        'rtspsrc location="rtsp://admin:S3CRET@h/a?token=S3CRET" user-id=x user-pw="S3 CRET" !'
        ' souphttpsrc extra-headers="h,Authorization=(string)S3CRET;" cookies=S3CRET ! video/x-raw,format=BGR'
        " ! appsink"
    )
    assert public_pipeline(pipeline) == (
        'rtspsrc location="rtsp://admin:***@h/a?token=***" user-id=x user-pw=*** !'
        " souphttpsrc extra-headers=*** cookies=*** ! video/x-raw,format=BGR ! appsink"
    )


@pytest.mark.parametrize(
    "uri",
    [
        "rtsp://admin:S3/CRET@127.0.0.1:1/x",
        "rtsp://admin:S3CRET@127.0.0.1:1/x?token=S3CRET",
        "http://admin:S3/CRET@127.0.0.1:1/x",
        "http://127.0.0.1:1/videostream.cgi?loginuse=admin&loginpas=S3CRET",
        "https://admin:S3CRET@127.0.0.1:1/x",
        "rtsps://admin:S3CRET@127.0.0.1:1/x",
        "rtsp:/admin:S3CRET@127.0.0.1:1/x",
        "gstreamer:rtspsrc location=rtsp://admin:S3CRET@h/ ! decodebin",
        "gstreamer:rtspsrc location=rtsp://admin:S3CRET@h/ user-pw=S3CRET ! appsink",
        "picamera://admin:S3CRET@h/x",
        "v4l2://admin:S3CRET@h/x",
        "virtual://admin:S3CRET@h/x",
        "file://rtsp://admin:S3CRET@h/x",
        "dir://rtsp://admin:S3CRET@h/x",
    ],
)
def test_no_error_shows_a_password(uri: str) -> None:
    with pytest.raises(EdgeleukError) as caught:
        open_source(uri)
    assert "CRET" not in f"{caught.value} {caught.value.got}"


def test_a_wrong_command_line_does_not_either(edgeleuk: Callable[..., Outcome]) -> None:
    outcome = edgeleuk("run", "http://admin:S3CRET@h/x")
    assert outcome.code == 2
    assert "extra argument" in outcome.err
    assert SECRET not in outcome.err
    assert public_text("nothing to hide: a/b, 12:30") == "nothing to hide: a/b, 12:30"
