"""The pages about the networks, and what they make of metrics that are there or are not."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.untrained import write_random_network
from utils import __version__
from utils.web import evidence
from utils.workflow.proportions import wilson

METRICS: dict[str, Any] = {
    "n": 50,
    "accuracy": 0.98,
    "balanced_accuracy": 0.97,
    "macro_f1": 0.975,
    "weighted_f1": 0.981,
    "kappa": 0.969,
    "ece": 0.012,
    "auc": {"Benign": 0.999, "Early": 0.998, "Pre": 0.997, "Pro": 0.996},
    "per_class": {
        "Benign": {"precision": 1.0, "recall": 0.9, "f1": 0.947, "support": 10},
        "Early": {"precision": 0.93, "recall": 1.0, "f1": 0.966, "support": 14},
    },
    "confusion": [[9, 1, 0, 0], [0, 14, 0, 0], [0, 0, 13, 0], [0, 0, 0, 13]],
    "coverage": 0.96,
    "accuracy_on_kept": 0.991,
    "robustness": {
        "stain_swap": 0.972,
        "background_swap": {
            "accuracy": 0.943,
            "mean_highest_probability": 0.91,
            "abstained": 0.07,
        },
    },
    "cells_removed": {"accuracy": 0.31, "mean_highest_probability": 0.29, "abstained": 0.974},
    "controls": {"majority": 0.28, "colour_5nn": {"plain": 0.967, "stain_swap": 0.083}},
    "intervals": {"accuracy": [0.951, 0.994]},
}
CLASSES = [("Benign", "Benign"), ("Early", "Early"), ("Pre", "Pre"), ("Pro", "Pro")]


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three versions: measured and serving, not measured, damaged."""
    folder = tmp_path_factory.mktemp("measured")
    write_random_network(folder, version="0.1-bare")
    damaged = write_random_network(folder, version="0.2-damaged")
    (damaged / "manifest.json").write_text('{"name": "all4"}')
    measured = write_random_network(folder, version="1.0")
    (measured / "metrics.json").write_text(json.dumps(METRICS))
    (measured / "card.md").write_text("# Card\n\nReads *fields*. <script>alert(1)</script>\n")
    (measured / "roc.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"></svg>')
    (measured / "secret.svg").write_text("<svg/>")
    return folder


@pytest.fixture
def page(auth: Any, client: FlaskClient) -> Any:
    """Fetch a page as somebody who is signed in: (status, text)."""
    auth.enter()

    def fetch(address: str) -> tuple[int, str]:
        answer = client.get(address)
        return answer.status_code, answer.get_data(as_text=True)

    return fetch


def visible(text: str) -> str:
    """The words of a page, as read."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text)).replace("&#8239;", " ")


# ---------------------------------------------------------------- pages


@pytest.mark.parametrize("address", ["/networks", "/networks/all4/1.0"])
def test_strangers_are_asked_to_sign_in(client: FlaskClient, address: str) -> None:
    answer = client.get(address)
    assert answer.status_code in (302, 303)
    assert "/login" in answer.headers["Location"]


def test_about_is_open_to_everybody(client: FlaskClient) -> None:
    answer = client.get("/about")
    assert answer.status_code == 200
    assert "Not for use in diagnostic procedures" in answer.get_data(as_text=True)


def test_index_lists_every_version_the_serving_one_first(page: Any) -> None:
    status, text = page("/networks")
    assert status == 200
    links = re.findall(r'href="(/networks/all4/[^"]+)"', text)
    assert links == [
        "/networks/all4/1.0",
        "/networks/all4/0.1-bare",
        "/networks/all4/0.2-damaged",
    ]
    assert text.count("In use") == 1
    assert "The manifest of network all4/0.2-damaged is not valid" in text
    assert "97.4" in visible(text)


def test_show_has_the_table_the_controls_and_what_they_mean(page: Any) -> None:
    status, text = page("/networks/all4/1.0")
    words = visible(text)
    assert status == 200
    for figure in ("98.0", "97.2", "94.3", "97.4", "28.0", "96.7", "8.3", "95.1–99.4"):
        assert figure in words, figure
    for title in ("Plain", "Stain swap", "Background swap", "Grey", "Blur", "Cells removed"):
        assert title in words
    assert "5-NN on six colour numbers" in words
    assert "alone shows nothing about morphology" in words
    assert "not measured" in words  # grey was not


def test_show_escapes_the_card_and_shows_it(page: Any) -> None:
    _, text = page("/networks/all4/1.0")
    assert "<em>fields</em>" in text
    assert "<script>alert(1)</script>" not in text
    assert "&lt;script&gt;" in text


def test_show_without_any_metrics_says_so(page: Any) -> None:
    status, text = page("/networks/all4/0.1-bare")
    assert status == 200
    assert "has not been measured" in text
    assert text.count("not measured") > 20
    assert "Confusion matrix" not in text


def test_damaged_version_is_explained(page: Any) -> None:
    status, text = page("/networks/all4/0.2-damaged")
    assert status == 503
    assert "is not valid" in text


@pytest.mark.parametrize(
    "address",
    [
        "/networks/all4/9.9",
        "/networks/none/1.0",
        "/networks/../all4",
        "/networks/all4/..",
        "/networks/all4/%2e%2e",
        "/networks/all4%2f1.0/figures",
        "/networks/all4/1.0/figures/secret.svg",
        "/networks/all4/1.0/figures/curves.svg",
        "/networks/all4/1.0/figures/..%2fmanifest.svg",
        "/networks/all4/1.0/figures/roc.png",
    ],
)
def test_what_is_not_there_is_not_found(page: Any, address: str) -> None:
    status, _ = page(address)
    assert status == 404


def test_figure_is_served_as_a_picture_that_can_do_nothing(page: Any, client: FlaskClient) -> None:
    page("/networks")
    with client.get("/networks/all4/1.0/figures/roc.svg") as answer:
        assert answer.status_code == 200
        assert answer.mimetype == "image/svg+xml"
        policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "sandbox" in policy
    assert "script-src" not in policy


# ---------------------------------------------------------------- what metrics say


@pytest.mark.parametrize("value", [None, "0.9", True, math.nan, math.inf, [0.9], {}])
def test_what_is_no_number_is_not_measured(value: Any) -> None:
    assert evidence.number({"accuracy": value}, "accuracy") is None


def test_numbers_and_mappings_both_serve_as_a_test() -> None:
    rows = {row.key: row for row in evidence.evidence_table(METRICS).rows}
    assert rows["stain_swap"].network == evidence.Measure(accuracy=0.972)
    assert rows["background_swap"].network.mean_highest_probability == 0.91
    assert rows["plain"].network.abstained == pytest.approx(0.04)
    assert rows["grey"].network == evidence.Measure()
    assert rows["cells_removed"].network.abstained == 0.974


def test_the_majority_rule_is_blind_to_what_is_done_to_the_image() -> None:
    table = evidence.evidence_table(METRICS)
    assert table.controls == ("Majority class", "5-NN on six colour numbers")
    assert {row.controls[0] for row in table.rows} == {0.28}
    assert [row.controls[1] for row in table.rows][:3] == [0.967, 0.083, None]


def test_linear_probe_gets_a_column_where_it_was_run() -> None:
    metrics = METRICS | {"controls": {"linear_probe": 0.989}}
    assert evidence.evidence_table(metrics).controls[2].startswith("Linear probe")


def test_meaning_says_only_what_was_measured() -> None:
    assert evidence.meaning({}) == []
    assert evidence.meaning({"cells_removed": {"abstained": 0.5}}) == [
        "With the nucleated cells painted away nothing is left to read, and the right answer is "
        "none: it abstains on 50.0 % of those images."
    ]
    assert len(evidence.meaning(METRICS)) == 3


def test_classes_take_their_intervals_from_the_matrix() -> None:
    rows = {row.code: row for row in evidence.class_rows(METRICS, CLASSES)}
    assert rows["Benign"].support == 10
    assert rows["Benign"].recall_interval == wilson(9, 10)
    assert rows["Early"].precision_interval == wilson(14, 15)
    assert rows["Pre"].support == 13  # from the matrix
    assert rows["Pre"].precision is None


@pytest.mark.parametrize(
    "matrix",
    [None, [], [[1, 2], [3, 4]], [[1, 2, 3, 4]] * 3, [["a"] * 4] * 4, [[-1] * 4] * 4, 7],
)
def test_a_matrix_that_does_not_fit_is_left_out(matrix: Any) -> None:
    metrics = METRICS | {"confusion": matrix}
    assert evidence.confusion(metrics, ["a", "b", "c", "d"]) == []
    assert evidence.class_rows(metrics, CLASSES)[0].recall_interval is None


def test_matrix_shades_by_the_share_of_the_row() -> None:
    rows = evidence.confusion(METRICS, ["a", "b", "c", "d"])
    assert rows[0].cells == ((9, 9), (1, 1), (0, 0), (0, 0))
    assert rows[0].total == 10


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ([0.1, 0.2], (0.1, 0.2)),
        ({"low": 0.1, "high": 0.2}, (0.1, 0.2)),
        ({"lower": 0.1, "upper": 0.2}, (0.1, 0.2)),
        ([0.1], None),
        ("ab", None),
        ([0.1, None], None),
        (None, None),
    ],
)
def test_intervals_in_each_form(bounds: Any, expected: tuple[float, float] | None) -> None:
    assert evidence.interval({"intervals": {"kappa": bounds}}, "kappa") == expected


def test_every_page_says_its_version_and_laboratory(make_app: Any) -> None:
    client = make_app(laboratory_name="Labor Süd").test_client()
    for address in ("/about", "/login", "/nowhere"):
        text = client.get(address).get_data(as_text=True)
        assert f"Marrow-Find {__version__}" in visible(text)
        assert "Labor Süd" in text
