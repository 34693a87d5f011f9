"""A microscope server as OpenFlexure's of version 3 is one, on 127.0.0.1, with the virtual slide behind it.

It follows what those servers publish of themselves: Thing Descriptions at ``/thing_descriptions/``, actions
that are begun by POST and answered with 201 and an ``href``, asked after there and cancelled by DELETE. The
answers have the keys of LabThings-FastAPI 0.3.0; `tests/hardware/openflexure.sh` runs the client on it.
"""

from __future__ import annotations

import itertools
import json
import threading
import time
import uuid
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import cv2

from edgeleuk.io.closing import Closing
from edgeleuk.virtual.microscope import Stand, VirtualMicroscope
from edgeleuk.virtual.render import VirtualSlide

if TYPE_CHECKING:
    from collections.abc import Callable

UM_PER_STEP = 0.1
FOCUS_UM = 4.0
PROPERTIES = {"stage": ("position", "moving"), "camera": ("stream_active",), "autofocus": ()}
ACTIONS = {
    "stage": ("move_absolute", "move_relative", "set_zero_position"),
    "camera": ("grab_jpeg",),
    "autofocus": ("fast_autofocus",),
}


@dataclass
class Invocation:
    """An action that was begun."""

    action: str
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    status: str = "running"
    message: str = ""
    cancelled: threading.Event = field(default_factory=threading.Event)

    def told(self, prefix: str) -> dict[str, Any]:
        href = f"http://microscope.local:5000{prefix}/action_invocations/{self.id}"
        log = [{"message": self.message, "levelname": "ERROR"}] if self.message else []
        return {
            "status": self.status, "id": self.id, "action": self.action, "href": href, "log": log,
            "output": None, "links": [{"href": href, "rel": "self"}], "error": None,
        }  # fmt: skip


class OpenFlexureServer(Closing):
    """Serves until it is closed.

    Attributes
    ----------
    steps_per_s : float
    fails : str
        What the next action says and fails with; empty: it does as it is told.
    """

    def __init__(self, prefix: str = "/api/v3", *, autofocus: bool = True, fps: float = 20.0) -> None:
        self.prefix = prefix
        self.position = {"x": 0, "y": 0, "z": 0}
        self.moving = False
        self.steps_per_s = 5000.0
        self.fails = ""
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.microscope = VirtualMicroscope(VirtualSlide(4), Stand(focus_um=FOCUS_UM), 640, 480)
        self._fps = fps
        self._exposures = itertools.count(1)
        self._closing = threading.Event()
        self._drawing = threading.Lock()
        self._invocations: dict[str, Invocation] = {}
        self._things = [name for name in ACTIONS if autofocus or name != "autofocus"]
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server._answer(self, "GET")

            def do_POST(self) -> None:
                server._answer(self, "POST")

            def do_DELETE(self) -> None:
                server._answer(self, "DELETE")

            def log_message(self, *_: object) -> None:
                """Keep standard error for what matters."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.uri = f"openflexure://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, handler: BaseHTTPRequestHandler, method: str) -> None:
        path = handler.path
        body = json.loads(handler.rfile.read(int(handler.headers.get("Content-Length") or 0)) or b"{}")
        if not path.startswith(f"{self.prefix}/"):
            _send(handler, 404, {"detail": "Not Found"})
            return
        words = path.removeprefix(self.prefix).strip("/").split("/")
        if words == ["camera", "mjpeg_stream"]:
            self._stream(handler)
        elif words == ["thing_descriptions"]:
            _send(handler, 200, {name: self._description(name) for name in self._things})
        elif words[0] == "action_invocations":
            self._invocation(handler, method, words[1:])
        elif method == "GET" and words[-1] in PROPERTIES.get(words[0], ()):
            _send(handler, 200, {"position": self.position, "moving": self.moving}.get(words[1], True))
        elif method == "POST" and words[0] in self._things and words[-1] in ACTIONS[words[0]]:
            _send(handler, 201, self._begin(path, words[-1], body).told(self.prefix))
        else:
            _send(handler, 404, {"detail": "Not Found"})

    def _description(self, thing: str) -> dict[str, Any]:
        def forms(name: str, what: str) -> dict[str, Any]:
            return {"forms": [{"href": f"{self.prefix}/{thing}/{name}", "op": [what]}]}

        return {
            "title": thing.title(),
            "@context": "https://www.w3.org/2022/wot/td/v1.1",
            "base": "http://microscope.local:5000/",
            "properties": {name: forms(name, "readproperty") for name in PROPERTIES[thing]},
            "actions": {name: forms(name, "invokeaction") for name in ACTIONS[thing]},
        }

    def _invocation(self, handler: BaseHTTPRequestHandler, method: str, words: list[str]) -> None:
        if not words:
            _send(handler, 200, [each.told(self.prefix) for each in self._invocations.values()])
            return
        found = self._invocations.get(words[0])
        if found is None:
            _send(handler, 404, {"detail": "No action invocation found"})
        elif method == "GET":
            _send(handler, 200, found.told(self.prefix))
        elif found.status == "running":
            found.cancelled.set()
            _send(handler, 200, None)
        else:
            _send(handler, 503, {"detail": "The invocation is not running"})

    def _begin(self, path: str, action: str, given: dict[str, Any]) -> Invocation:
        self.asked.append((action, given))
        begun = Invocation(path)
        self._invocations[begun.id] = begun
        if self.fails:
            begun.status, begun.message, self.fails = "error", self.fails, ""
            return begun
        work: Callable[[Invocation, dict[str, Any]], None] = (
            self._focus if action == "fast_autofocus" else self._move
        )
        threading.Thread(target=work, args=(begun, given), daemon=True).start()
        return begun

    def _move(self, run: Invocation, given: dict[str, Any]) -> None:
        start = dict(self.position)
        target = {**start, **{axis: given[axis] for axis in start if axis in given}}
        seconds = max(abs(target[axis] - start[axis]) for axis in start) / self.steps_per_s
        begun, self.moving = time.monotonic(), True
        share = 0.0
        while share < 1 and not run.cancelled.is_set():
            share = min((time.monotonic() - begun) / seconds, 1.0) if seconds else 1.0
            self.position = {
                axis: start[axis] + round(share * (target[axis] - start[axis])) for axis in start
            }
            time.sleep(0.005)
        self.moving = False
        run.status = "cancelled" if share < 1 else "completed"

    def _focus(self, run: Invocation, given: dict[str, Any]) -> None:
        best = round(FOCUS_UM / UM_PER_STEP)
        if abs(best - self.position["z"]) > given["dz"] / 2:
            run.message, run.status = "the sharpest picture is at the end of the sweep", "error"
            return
        self._move(run, {"z": best})

    def _stream(self, handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        # No real one says so; here it keeps a session from being taken for a slide's.
        handler.send_header("X-Edgeleuk-Simulated", "1")
        handler.end_headers()
        try:
            while not self._closing.wait(1 / self._fps):
                handler.wfile.write(
                    b"--frame\r\nContent-Type: image/jpeg\r\n\r\n" + self._picture() + b"\r\n"
                )
        except OSError:
            return

    def _picture(self) -> bytes:
        with self._drawing:
            at = (UM_PER_STEP * self.position[axis] for axis in "xyz")
            pixels = self.microscope.look(*at, exposure=next(self._exposures)).pixels
        return cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))[1].tobytes()


def _send(handler: BaseHTTPRequestHandler, status: int, answer: object) -> None:
    data = json.dumps(answer).encode()
    handler.send_response(status)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data)
