"""``flask bench``: the stations, the whole way, ten clients at once, and the published way.

Everything runs in instances of its own in a temporary folder: a bench never
meets real analyses. The published way takes the same trained weights.
"""

from __future__ import annotations

import importlib.util
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click

from utils.cli.benchmark import load
from utils.cli.command import new_command, print_json
from utils.records import User
from utils.records.database import db
from utils.settings import PROJECT_ROOT, Settings
from utils.web.services import services

EMAIL = "bench@example.org"
CELLS = (200, 2000)


@new_command("bench")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--repeats", default=40, show_default=True, help="Passes of the way of one image.")
@click.option("--clients", default=10, show_default=True, help="Clients at once.")
@click.option("--requests", "each", default=20, show_default=True, help="Requests of each client.")
@click.option("--naive/--no-naive", "with_naive", default=True, help="Also the published way.")
@click.option("--way-only", is_flag=True, hidden=True)
@click.option("--cells-only", type=int, hidden=True)
def command(
    as_json: bool,
    repeats: int,
    clients: int,
    each: int,
    with_naive: bool,
    way_only: bool,
    cells_only: int | None,
) -> None:
    """Measure speed and memory on this machine; the real data are not touched."""
    if way_only:
        print_json(_one_image(repeats))
        return
    if cells_only:
        print_json(_cells_of_one_field(cells_only))
        return
    with tempfile.TemporaryDirectory(prefix="marrow-find-bench-") as name:
        folder = Path(name)
        environment = _environment(services().settings, folder)
        click.echo("one image, station by station", err=True)
        report = _in_own_process(environment, "--way-only", "--repeats", str(repeats))
        click.echo("the cells of a field, as the worker reads them", err=True)
        report["cells"] = [_cells_in_own_process(environment, folder, cells) for cells in CELLS]
        click.echo(f"{clients} clients at once", err=True)
        report |= _many_clients(environment, folder, clients, each)
        report["naive"] = None
        if with_naive and importlib.util.find_spec("tensorflow"):
            click.echo("the published way: predict, tape, scikit-image", err=True)
            report["naive"] = _published_way(
                services().settings, folder, clients, max(each // 5, 2), repeats
            )
    report["ratios"] = _ratios(report)
    if as_json:
        print_json(report)
    else:
        _print(report)


def _environment(settings: Settings, folder: Path) -> dict[str, str]:
    return {
        "MARROW_FIND_INSTANCE_DIR": str(folder / "instance"),
        "MARROW_FIND_MODELS_DIR": str(settings.models_dir),
        "MARROW_FIND_FIELD_NETWORK": settings.field_network,
        "MARROW_FIND_LOWEST_FREE_BYTES": "0",
        "DATABASE_URL": "",
    }


def _in_own_process(environment: dict[str, str], *options: str) -> dict[str, Any]:
    return _answer_of([sys.executable, "-m", "flask", "bench", *options], environment)


def _cells_in_own_process(environment: dict[str, str], folder: Path, cells: int) -> dict[str, Any]:
    # An instance of its own: the fields of the stations wait for a worker in theirs.
    own = {"MARROW_FIND_INSTANCE_DIR": str(folder / f"cells-{cells}")}
    return _in_own_process(environment | own, "--cells-only", str(cells))


def _answer_of(command: list[str], environment: dict[str, str]) -> dict[str, Any]:
    done = subprocess.run(
        command,
        cwd=PROJECT_ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        check=True,
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _one_image(repeats: int) -> dict[str, Any]:
    from utils.cli.benchmark.stages import measure_way

    return measure_way(services().settings, _user(), services().blobs, repeats=repeats)


def _cells_of_one_field(cells: int) -> dict[str, Any]:
    from utils.cli.benchmark.cells import measure_cells

    return measure_cells(services().settings, _user(), services().blobs, cells=cells)


def _user() -> User:
    from utils.workflow import accounts

    return accounts.create(
        db.session,
        services().settings,
        name="Bench",
        email=f"{secrets.token_hex(8)}@example.org",
        password=secrets.token_urlsafe(24),
        role="pathologist",
    )


def _many_clients(
    environment: dict[str, str], folder: Path, clients: int, each: int
) -> dict[str, Any]:
    from utils.cli.benchmark.stages import bench_picture

    port, log = load.free_port(), folder / "gunicorn.log"
    environment = {**environment, "MARROW_FIND_BIND": f"{load.HOST}:{port}"}
    password = secrets.token_urlsafe(24)
    _create_user(environment, password)
    browser = load.Client(port)
    with load.serve("wsgi:app", port, environment, log):
        load.wait_for(port, "/health")
        browser.sign_in(EMAIL, password)
    picture = bench_picture(7)
    # Signed in before: what is timed is the start of the program, not of a password.
    started = time.perf_counter()
    with load.serve("wsgi:app", port, environment, log) as server:
        load.wait_for(port, "/health")
        if browser.upload(picture) != 200:
            raise click.ClickException(
                f"The first upload failed; see the server's log: {_tail(log)}"
            )
        first_answer_s = time.perf_counter() - started
        crowd = [load.Client(port, dict(browser.cookies), browser.token) for _ in range(clients)]
        pictures = [bench_picture(20 + i) for i in range(clients)]
        turns = dict(zip(map(id, crowd), pictures, strict=True))
        load.storm(crowd, lambda c: c.upload(turns[id(c)]), each=2)
        concurrency = load.storm(crowd, lambda c: c.upload(turns[id(c)]), each=each)
        worker_rss_mb = load.workers_rss_mb(server.pid)
    return {
        "concurrency": concurrency,
        "worker_rss_mb": worker_rss_mb,
        "start_to_first_answer_s": round(first_answer_s, 2),
    }


def _create_user(environment: dict[str, str], password: str) -> None:
    command = [sys.executable, "-m", "flask", "user", "create", EMAIL]
    subprocess.run(
        [*command, "--name", "Bench", "--role", "pathologist"],
        cwd=PROJECT_ROOT,
        env={**os.environ, **environment},
        input=password.encode() + b"\n",
        stdout=subprocess.DEVNULL,
        check=True,
    )


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-500:]


def _published_way(
    settings: Settings, folder: Path, clients: int, each: int, repeats: int
) -> dict[str, Any]:
    from utils.cli.benchmark.stages import bench_picture
    from utils.networks import registry

    graph = registry.find(settings.models_dir, settings.field_network) / registry.GRAPH
    environment = {"MARROW_FIND_NAIVE_GRAPH": str(graph.resolve()), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-m", "utils.cli.benchmark.naive", str(max(repeats // 4, 3))]
    report = _answer_of(command, environment)
    port, picture = load.free_port(), bench_picture(7)
    started = time.perf_counter()
    application = "utils.cli.benchmark.naive:make_app()"
    with load.serve(application, port, environment, folder / "naive.log", plain=True) as server:
        load.wait_for(port, "/health")
        load.Client(port).upload(picture)
        report["start_to_first_answer_s"] = round(time.perf_counter() - started, 2)
        crowd = [load.Client(port) for _ in range(clients)]
        load.storm(crowd, lambda c: c.upload(picture), each=1)
        report["concurrency"] = load.storm(crowd, lambda c: c.upload(picture), each=each)
        report["worker_rss_mb"] = load.workers_rss_mb(server.pid)
    return report


def _ratios(report: dict[str, Any]) -> dict[str, float]:
    ratios = {"whole_to_forward": report["ratio_whole_to_forward"]}
    if report["naive"]:
        naive = report["naive"]
        pairs = (("p50_ms", "p50"), ("p95_ms", "p95"))
        for key, name in pairs:
            own, theirs = report["concurrency"][key], naive["concurrency"][key]
            ratios[f"{name}_to_naive"] = round(own / theirs, 3)
        ratios["whole_to_naive"] = round(report["whole_ms"] / naive["whole_ms"], 3)
        ratios["memory_to_naive"] = round(report["worker_rss_mb"] / naive["worker_rss_mb"], 3)
    return ratios


def _print(report: dict[str, Any]) -> None:
    for name, value in report["stages_ms"].items():
        click.echo(f"  {name:<14}{value:8.2f} ms")
    click.echo(f"bare forward    {report['forward_ms']:8.2f} ms")
    click.echo(
        f"whole way       {report['whole_ms']:8.2f} ms  "
        f"({report['ratio_whole_to_forward']:.2f} x the forward)"
    )
    for one in report["cells"]:
        click.echo(
            f"cells           {one['found']} of {one['cells']} in {one['read_s']:.2f} s "
            f"({'named' if one['named'] else 'measured, no cell network'}; "
            f"{one['first_s']:.2f} s the first time), {one['peak_rss_mb']} MB; found in "
            f"{one['find_s']:.2f} s, the published watershed takes {one['published_find_s']:.2f} s"
        )
    _print_server("this program", report)
    if report["naive"]:
        _print_server("published way", report["naive"])
    for name, value in report["ratios"].items():
        click.echo(f"{name:<24}{value:.3f}")


def _print_server(title: str, report: dict[str, Any]) -> None:
    crowd = report["concurrency"]
    click.echo(
        f"{title}: {crowd['clients']} clients, p50 {crowd['p50_ms']:.0f} ms, "
        f"p95 {crowd['p95_ms']:.0f} ms, {crowd['requests_per_s']:.1f} requests/s, "
        f"{crowd['errors']} errors; {report['worker_rss_mb']:.0f} MB a worker; "
        f"{report['start_to_first_answer_s']:.1f} s from start to first answer"
    )
