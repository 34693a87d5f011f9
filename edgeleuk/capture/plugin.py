"""Cameras by plug-in: whatever their code raises is a camera's error with the package's name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeleuk.capture.base import SourceEvent
from edgeleuk.capture.controls import Controllable
from edgeleuk.errors import CameraError, EdgeleukError
from edgeleuk.frames import Frame
from edgeleuk.io.closing import Closing
from edgeleuk.io.plugins import described, load_plugin
from edgeleuk.io.uris import public_uri

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeleuk.capture.base import FrameSource, SourceItem
    from edgeleuk.capture.controls import CameraControls
    from edgeleuk.io.plugins import Plugin


def open_plugin(plugin: Plugin, uri: str) -> FrameSource:
    """Open a camera of a plug-in.

    Raises
    ------
    PluginError
        The plug-in cannot be used.
    CameraError
        It cannot open the camera.
    """
    opener = load_plugin(plugin)
    try:
        source: FrameSource = opener(uri)
    except EdgeleukError:
        raise
    except Exception as error:
        raise _failed(plugin, uri, "opening", error) from error
    missing = [name for name in ("live", "frames", "close") if not hasattr(source, name)]
    if missing:
        raise CameraError(
            f"the plug-in of {plugin.package} opened {public_uri(uri)} as something that is no camera",
            got=f"{type(source).__name__} without {', '.join(missing)}",
            cure="see edgeleuk.plugins.FrameSource",
        )
    return PluginSource(plugin, uri, source)


class PluginSource(Closing):
    """A camera of a plug-in; see `FrameSource`.

    Parameters
    ----------
    plugin : Plugin
    uri : str
        As it was given; shown without its password, whatever the plug-in shows.
    source : FrameSource

    Attributes
    ----------
    controls : CameraControls
        Of a camera that has some.
    """

    controls: CameraControls

    def __init__(self, plugin: Plugin, uri: str, source: FrameSource) -> None:
        self.uri = public_uri(uri)
        self.live = source.live
        self.simulated = bool(getattr(source, "simulated", False))
        self.format: str | None = getattr(source, "format", None)
        if isinstance(source, Controllable):
            self.controls = source.controls
        self._plugin = plugin
        self._source = source

    def frames(self) -> Iterator[SourceItem]:
        """Yield what arrives; see `FrameSource.frames`.

        Raises
        ------
        CameraError
            The camera died, or its plug-in failed or yields what is no picture.
        """
        items = iter(self._source.frames())
        while True:
            try:
                item = next(items)
            except StopIteration:
                return
            except EdgeleukError:
                raise
            except Exception as error:
                raise _failed(self._plugin, self.uri, "reading", error) from error
            if not (isinstance(item, Frame | SourceEvent) or hasattr(item, "decode")):
                raise CameraError(
                    f"the plug-in of {self._plugin.package} yields what is no picture",
                    got=type(item).__name__,
                    allowed="Frame, JpegFrame, SourceEvent",
                )
            yield item

    def close(self) -> None:
        """Let go of the camera."""
        self._source.close()


def _failed(plugin: Plugin, uri: str, doing: str, error: Exception) -> CameraError:
    return CameraError(
        f"the plug-in of {plugin.package} failed while {doing} {public_uri(uri)}",
        got=described(error),
        cure=f"tell the maker of {plugin.package.split()[0]}",
    )
