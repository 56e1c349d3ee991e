"""A real HTTP server on this machine that speaks the OpenAI protocol, well or badly."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Speak = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Keeps what was asked and lets the test's function answer."""

    protocol_version = "HTTP/1.1"
    speak: Speak
    asked: list[dict[str, Any]]

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        body = json.loads(self.rfile.read(length))
        self.asked.append({"path": self.path, "headers": dict(self.headers), "body": body})
        with contextlib.suppress(BrokenPipeError):  # whoever asked has gone
            type(self).speak(self)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def begin(self, status: int = 200, kind: str = "text/event-stream") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Connection", "close")
        self.end_headers()

    def piece(self, text: str) -> None:
        self.line("data: " + json.dumps({"choices": [{"delta": {"content": text}}]}))

    def line(self, text: str) -> None:
        self.wfile.write((text + "\n\n").encode())
        self.wfile.flush()

    def done(self) -> None:
        self.line("data: [DONE]")


def says(text: str, *, pause_s: float = 0.0) -> Speak:
    """Say `text` in small pieces."""

    def speak(handler: Handler) -> None:
        handler.begin()
        for start in range(0, len(text), 7):
            handler.piece(text[start : start + 7])
            time.sleep(pause_s)
        handler.done()

    return speak


@contextmanager
def language_server(speak: Speak) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Run the server; give its address and what it was asked."""
    asked: list[dict[str, Any]] = []
    handler = type("Speaking", (Handler,), {"speak": staticmethod(speak), "asked": asked})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
