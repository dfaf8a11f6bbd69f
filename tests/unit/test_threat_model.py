"""Documents that claim what tests show: each test that they name exists."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMED = {
    "threat-model.md": 40,
    "release.md": 100,
}
"""Documents below docs/, and how many tests each names at least."""


def functions_of(name: str) -> set[str]:
    tree = ast.parse((ROOT / "tests" / f"{name}.py").read_text())
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in tree.body if isinstance(node, kinds)}


def named(line: str) -> list[tuple[str, str]]:
    """Files and tests of one line; a name that begins with :: is of the file before it."""
    found, file = [], ""
    for path, test in re.findall(r"`([a-z0-9_/]*)::(test_\w+)`", line):
        file = path or file
        found.append((file, test))
    return found


def lines_of(document: str) -> list[str]:
    return (ROOT / "docs" / document).read_text().splitlines()


@pytest.mark.parametrize("document", NAMED)
def test_every_named_test_exists(document):
    found = [pair for line in lines_of(document) for pair in named(line)]
    assert len(found) > NAMED[document]
    assert [f"{file}::{test}" for file, test in found if test not in functions_of(file)] == []


def test_every_row_names_a_test_or_says_that_it_is_open():
    rows = [line for line in lines_of("threat-model.md") if line.startswith("| ")]
    heads = ("| can ", "| property ", "| ---")
    bare = [
        row
        for row in rows
        if not row.startswith(heads)
        and not named(row)
        and "**open**" not in row
        and not re.search(r"tests above|section above|No test of ours", row)
    ]
    assert bare == []
