"""A real Redis server on a free port of the loopback."""

from __future__ import annotations

import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from tests.need import program


@dataclass
class Redis:
    """The server and its address."""

    process: subprocess.Popen[bytes]
    address: str

    def stop(self) -> None:
        """End the server; it keeps nothing."""
        self.process.terminate()
        self.process.wait(20)


def free_port() -> int:
    """Give a port of the loopback that nothing listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def start_redis(folder: Path) -> Redis:
    """Start a server of its own; skips where the machine has none."""
    server_program = program(
        ("redis-server",),
        "Redis",
        "what it stands in for is tested all the same; on Debian, apt-get install redis-server",
    )
    port = free_port()
    options = {"--port": str(port), "--bind": "127.0.0.1", "--save": "", "--dir": str(folder)}
    process = subprocess.Popen(
        [server_program, *(word for option in options.items() for word in option)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.05)
    return Redis(process, f"redis://127.0.0.1:{port}/0")
