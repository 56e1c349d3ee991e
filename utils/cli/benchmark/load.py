"""Many clients at once against a real server on this machine."""

from __future__ import annotations

import http.client
import os
import re
import socket
import statistics
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from utils.settings import PROJECT_ROOT

HOST = "127.0.0.1"


@dataclass
class Client:
    """One browser's worth of HTTP: cookies, the form's token, nothing else."""

    port: int
    cookies: dict[str, str] = field(default_factory=dict)
    token: str = ""

    def send(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Send one request on a connection of its own.

        Returns
        -------
        status : int
        body : bytes
        """
        connection = http.client.HTTPConnection(HOST, self.port, timeout=60)
        try:
            cookie = "; ".join(f"{k}={v}" for k, v in self.cookies.items())
            connection.request(method, path, body, {"Cookie": cookie, **(headers or {})})
            answer = connection.getresponse()
            for name, value in answer.getheaders():
                if name.lower() == "set-cookie":
                    key, _, rest = value.partition("=")
                    self.cookies[key] = rest.partition(";")[0]
            return answer.status, answer.read()
        finally:
            connection.close()

    def read_token(self, path: str) -> None:
        """Take the form's token from a page."""
        _, body = self.send("GET", path)
        found = re.search(rb'name="csrf_token"[^>]*value="([^"]+)"', body)
        if found is None:
            raise RuntimeError(f"The page {path} has no form.")
        self.token = found.group(1).decode()

    def sign_in(self, email: str, password: str) -> None:
        """Sign in and read the token of the start page."""
        self.read_token("/login")
        form = urlencode({"csrf_token": self.token, "email": email, "password": password})
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        status, _ = self.send("POST", "/login", form.encode(), kind)
        if status not in (302, 303):
            raise RuntimeError(f"Signing in was answered with {status}.")
        self.read_token("/")

    def upload(self, picture: bytes) -> int:
        """Upload one picture; the status."""
        parts = {"csrf_token": self.token, "upload_key": uuid.uuid4().hex}
        body, kind = multipart(parts, picture)
        headers = {"Content-Type": kind, "Accept": "application/json"}
        return self.send("POST", "/upload", body, headers)[0]


def multipart(parts: Mapping[str, str], picture: bytes) -> tuple[bytes, str]:
    """A form with one picture in it.

    Returns
    -------
    body : bytes
    content_type : str
    """
    border = uuid.uuid4().hex
    lines = [
        f'--{border}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in parts.items()
    ]
    disposition = 'form-data; name="images"; filename="field.jpg"'
    lines.append(
        f"--{border}\r\nContent-Disposition: {disposition}\r\n"
        "Content-Type: image/jpeg\r\n\r\n".encode()
    )
    return b"".join([*lines, picture, f"\r\n--{border}--\r\n".encode()]), (
        f"multipart/form-data; boundary={border}"
    )


@contextmanager
def serve(
    application: str, port: int, environment: Mapping[str, str], log: Path, *, plain: bool = False
) -> Iterator[subprocess.Popen[bytes]]:
    """Run gunicorn with one sync worker a core until the block ends.

    Parameters
    ----------
    application : str
        As gunicorn names it.
    port : int
    environment : mapping
        Added to this process's own.
    log : Path
    plain : bool
        Without the project's gunicorn settings.
    """
    command = [sys.executable, "-m", "gunicorn", "--bind", f"{HOST}:{port}"]
    command += ["--config", "/dev/null", "--workers", "2", "--timeout", "120"] if plain else []
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, application],
            cwd=PROJECT_ROOT,
            env={**os.environ, **environment},
            stdout=output,
            stderr=output,
        )
        try:
            yield process
        finally:
            process.terminate()
            process.wait(timeout=30)


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def wait_for(port: int, path: str, *, seconds: float = 120) -> None:
    """Wait until a path answers with 200.

    Raises
    ------
    TimeoutError
        If it does not within `seconds`.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if Client(port).send("GET", path)[0] == 200:
                return
        except OSError:
            pass
        time.sleep(0.01)
    raise TimeoutError(f"The server did not answer {path} within {seconds:.0f} s.")


def storm(clients: list[Client], send: Any, *, each: int) -> dict[str, Any]:
    """All clients at once, each sending one request after the other.

    Parameters
    ----------
    clients : list of Client
    send : callable
        From a client to the status of one request.
    each : int
        Requests of each client.

    Returns
    -------
    figures : dict
        ``clients``, ``p50_ms``, ``p95_ms``, ``requests_per_s``, ``errors``.
    """
    durations: list[float] = []
    errors: list[int] = []
    together = threading.Barrier(len(clients) + 1)

    def run(client: Client) -> None:
        together.wait()
        for _ in range(each):
            start = time.perf_counter()
            status = send(client)
            durations.append((time.perf_counter() - start) * 1000)
            if status not in (200, 201, 303):
                errors.append(status)

    threads = [threading.Thread(target=run, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    together.wait()
    start = time.perf_counter()
    for thread in threads:
        thread.join()
    elapsed = time.perf_counter() - start
    return {
        "clients": len(clients),
        "p50_ms": round(statistics.median(durations), 1),
        "p95_ms": round(statistics.quantiles(durations, n=20)[-1], 1),
        "requests_per_s": round(len(durations) / elapsed, 2),
        "errors": len(errors),
    }


def workers_rss_mb(master: int) -> float:
    """Resident memory of the largest worker below a gunicorn master, MB."""
    largest = 0
    for entry in Path("/proc").glob("[0-9]*/status"):
        try:
            text = entry.read_text()
        except OSError:
            continue
        if f"\nPPid:\t{master}\n" in text and (found := re.search(r"VmRSS:\s+(\d+)", text)):
            largest = max(largest, int(found.group(1)))
    return round(largest / 1024, 1)
