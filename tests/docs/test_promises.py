"""Documents promise only what a test shows: each test that they name exists, each row names one."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from duet_p2p.owner.handler_view import OwnerRequests

ROOT = Path(__file__).parents[2]
SECTION = "## What is promised, and the test that shows it\n"
DOCUMENTS = {
    "web.md": 80,
    "surface.md": 80,
    "release-tests.md": 400,
    "threat-model.md": 40,
}
"""Below docs/, and how many tests each names at least; the last two are tables as a whole."""
HEADS = ("| ---", "| promise", "| suite", "| can ", "| property", "| what", "| part", "| claim",
         "| attack")  # fmt: skip
NAMED = re.compile(r'`([a-z0-9_/]*)::(test_\w+|"[^"`]+")`')
OPEN = re.compile(r"\*\*open\*\*|tests above|section above|No test of ours|scripts/test")
"""What stands in a row that names no test."""


@cache
def rows_of(document: str) -> list[str]:
    text = (ROOT / "docs" / document).read_text(encoding="utf-8")
    if SECTION in text:
        text = text.partition(SECTION)[2].partition("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [line for line in lines if not line.startswith(HEADS)]


def named(row: str) -> list[tuple[str, str]]:
    """Files and tests of one row; a name that begins with :: is of the file before it."""
    found, file = [], ""
    for path, test in NAMED.findall(row):
        file = path or file
        found.append((file, test))
    return found


@cache
def functions_of(file: str) -> frozenset[str]:
    tree = ast.parse((ROOT / "tests" / f"{file}.py").read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in tree.body if isinstance(node, kinds))


def is_there(file: str, test: str) -> bool:
    if file.startswith("node/"):
        text = (ROOT / "web" / "test" / f"{file[5:]}.test.js").read_text(encoding="utf-8")
        return any(test.strip('"') in title for title in re.findall(r"test\((.*)", text))
    return test in functions_of(file)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_named_test_exists(document: str) -> None:
    found = [pair for row in rows_of(document) for pair in named(row)]
    assert len(found) >= DOCUMENTS[document]
    assert [f"{file}::{test}" for file, test in found if not is_there(file, test)] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_promise_names_a_test_or_says_that_it_is_open(document: str) -> None:
    assert [row for row in rows_of(document) if not named(row) and not OPEN.search(row)] == []


def test_release_control_has_one_table_and_each_claim_stands_there_once() -> None:
    text = (ROOT / "docs" / "release.md").read_text(encoding="utf-8")
    assert "::test_" not in text and "(release-tests.md)" in text
    claims = [row.split(" | ")[0].casefold() for row in rows_of("release-tests.md")]
    assert sorted({claim for claim in claims if claims.count(claim) > 1}) == []


def test_where_rules_are_explained_stands_what_they_do_not_give() -> None:
    page = (ROOT / "docs" / "release.md").read_text(encoding="utf-8")
    for text in (page, OwnerRequests.add_handler.__doc__ or ""):
        words = " ".join(text.split())
        assert "the scientist chooses the model's weights, so" in words.replace("The sc", "the sc")
        assert '"a loss" can be any question about a batch' in words
    assert "Only differential privacy bounds what many answers reveal" in " ".join(page.split())


@pytest.mark.parametrize("document", DOCUMENTS)
def test_what_looks_like_a_test_is_read_as_one(document: str) -> None:
    rows = rows_of(document)
    assert [row for row in rows if row.count("::test_") > len(named(row))] == []
