"""docs/web.md promises only what a test shows: each test that its table names exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TABLE = (
    (ROOT / "docs" / "web.md")
    .read_text(encoding="utf-8")
    .partition("## What is promised, and the test that shows it\n")[2]
    .partition("\n## ")[0]
)
ROWS = [line for line in TABLE.splitlines() if line.startswith("| ")][2:]
NAMED = re.compile(r'`([a-z0-9_/]*)::(test_\w+|"[^"`]+")`')


def named(row: str) -> list[tuple[str, str]]:
    """Files and tests of one row; a name that begins with :: is of the file before it."""
    found, file = [], ""
    for path, test in NAMED.findall(row):
        file = path or file
        found.append((file, test))
    return found


def is_there(file: str, test: str) -> bool:
    if file.startswith("node/"):
        text = (ROOT / "web" / "test" / f"{file[5:]}.test.js").read_text(encoding="utf-8")
        return any(test.strip('"') in title for title in re.findall(r"test\((.*)", text))
    tree = ast.parse((ROOT / "tests" / f"{file}.py").read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return any(isinstance(node, kinds) and node.name == test for node in tree.body)


def test_every_named_test_exists() -> None:
    found = [pair for row in ROWS for pair in named(row)]
    assert len(found) > 80
    assert [f"{file}::{test}" for file, test in found if not is_there(file, test)] == []


def test_every_promise_names_a_test_or_says_that_it_is_open() -> None:
    assert [row for row in ROWS if not named(row) and "**open**" not in row] == []


def test_what_looks_like_a_test_is_read_as_one() -> None:
    assert [row for row in ROWS if row.count("::") != len(named(row))] == []
