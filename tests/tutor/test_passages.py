"""The corpus holds together, covers what it should, and says CLINICAL.md's figures rightly."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from utils.errors import CorpusInvalid
from utils.networks.registry import listed_label_set
from utils.settings import PROJECT_ROOT
from utils.tutor import scope
from utils.tutor.passages import CELL_SECTIONS, CORPUS, load_corpus, shipped_corpus
from utils.workflow import wording

MATEK = [
    "ABE",
    "ART",
    "BAS",
    "BLA",
    "EBO",
    "EOS",
    "FGC",
    "HAC",
    "KSC",
    "LYI",
    "LYT",
    "MMZ",
    "MON",
    "MYB",
    "NGB",
    "NGS",
    "NIF",
    "OTH",
    "PEB",
    "PLM",
    "PMO",
]


def test_the_shipped_corpus_has_no_fault() -> None:
    corpus = load_corpus(CORPUS)
    assert len(corpus.topics) >= 80
    assert len(corpus.passages) >= 600


@pytest.mark.parametrize("code", MATEK)
def test_each_cell_of_the_label_set_is_described(code: str) -> None:
    topic = shipped_corpus().topic_of_label(code)
    assert topic is not None
    assert [p.section for p in topic.passages][: len(CELL_SECTIONS)] == list(CELL_SECTIONS)


@pytest.mark.parametrize("network", ["all4", "marrow7"])
def test_each_class_of_a_shipped_label_set_leads_to_a_topic(network: str) -> None:
    for label in listed_label_set(PROJECT_ROOT / "models", network):
        assert shipped_corpus().topic_of_label(label.code) is not None, label.code


def test_each_flag_has_its_passage_and_each_passage_its_flag() -> None:
    topic = shipped_corpus().topics["flags"]
    explained = {p.section for p in topic.passages} - {"summary"}
    assert wording.known_flags() <= explained


def test_every_source_is_cited_and_leads_somewhere_or_is_a_book() -> None:
    corpus = shipped_corpus()
    cited = {key for passage in corpus.passages for key in passage.sources}
    assert cited == set(corpus.sources)
    for source in corpus.sources.values():
        assert len(source.title) > 20
        if source.doi:
            assert source.doi.startswith("10.")
            assert source.address == f"https://doi.org/{source.doi}"


def test_no_passage_would_be_refused_as_advice_on_treatment() -> None:
    # The same rule judges what a language network writes from these passages.
    for passage in shipped_corpus().passages:
        assert not scope.oversteps(passage.text), passage.name


@pytest.mark.parametrize(
    ("topic", "said"),
    [
        ("wilson_interval", ("13.3", "28.9", "15.0", "26.1", "15.9", "24.9")),
        ("wilson_interval", ("16.7", "23.7", "17.6", "22.6")),
        ("icsh_counting", ("500", "300", "two")),
        ("blast_threshold", ("20", "25", "indeterminate")),
        ("benign_class", ("not mean healthy", "children", "chemotherapy", "flow cytometry")),
        ("denominator", ("erythroblasts", "megakaryocytes", "macrophages", "smudge")),
        ("egil", ("B-I", "B-II", "B-III", "B-IV", "CD10")),
        ("closed_world", ("AML", "Burkitt", "metasta", "Unclassifiable")),
        ("field_count", ("differential",)),
        ("research_use", ("pattern", "Research Use Only")),
        ("me_ratio", ("myeloid", "erythro")),
    ],
)  # fmt: skip
def test_the_binding_rules_are_in_it(topic: str, said: tuple[str, ...]) -> None:
    text = " ".join(p.text for p in shipped_corpus().topics[topic].passages)
    for word in said:
        assert word.casefold() in text.casefold(), word


def _rewrite(change: Callable[[str], str]) -> Callable[[Path], None]:
    def do(folder: Path) -> None:
        path = folder / "cells" / "promyelocyte.md"
        path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")

    return do


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_rewrite(lambda t: t.replace("## size", "## bigness", 1)), "expected the sections"),
        (_rewrite(lambda t: t.replace("+++", "---", 1)), "head between two lines"),
        (_rewrite(lambda t: t.replace('title = "', 'titel = "', 1)), "expected title"),
        (_rewrite(lambda t: t.replace('title = "', "title = ", 1)), "no TOML"),
        (_rewrite(lambda t: t + "\n## extra\nToo short. [program]\n"), "15 to 95 words"),
        (_rewrite(lambda t: t + "\n## extra\n" + "word " * 20 + "\n"), "sources in brackets"),
        (_rewrite(lambda t: t + "\n## extra\n" + "word " * 20 + "[nobody]\n"), "no source nobody"),
        (_rewrite(lambda t: t.replace("names = [", 'names = ["monoblast", ', 1)), "also names"),
        (_rewrite(lambda t: t.replace("see = [", 'see = ["unicorn", ', 1)), "no such topic"),
    ],
)
def test_a_corpus_with_a_fault_says_where(
    tmp_path: Path, spoil: Callable[[Path], None], said: str
) -> None:
    folder = tmp_path / "corpus"
    shutil.copytree(CORPUS, folder)
    spoil(folder)
    with pytest.raises(CorpusInvalid) as caught:
        load_corpus(folder)
    assert "promyelocyte" in str(caught.value)
    assert said in str(caught.value)
