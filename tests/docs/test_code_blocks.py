"""The code of the tutorial and the how-tos runs as it stands: an owner's and a scientist's process.

Blocks run in the order of the page. `waits`: the block is started and the page goes on. `raises X`:
it ends with this error. A following ``text output`` block lists lines that the block shows or
prints; … stands for anything.
People wait until the other side has done its part; here `READY` says what they wait for.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from tests.e2e.notebook import CellError, Notebook

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 150.0
READY = {
    "owner": {"duet.requests[": "len(duet.requests)", "duet.requests\n": "len(duet.requests)"},
    "scientist": {"duet.store[": "len(duet.store)"},
}
"""Side to text in a block to what must be true before the block is run."""


@dataclass
class Block:
    """One fenced block of a page."""

    words: list[str]
    code: str
    line: int
    output: list[str] = field(default_factory=list)
    """Lines that must be among what it shows."""

    @property
    def side(self) -> str:
        return next((w for w in self.words[1:] if w in ("owner", "scientist")), "")

    @property
    def error(self) -> str:
        return self.words[self.words.index("raises") + 1] if "raises" in self.words else ""


def blocks(path: Path) -> list[Block]:
    found: list[Block] = []
    for token in MarkdownIt().parse(path.read_text(encoding="utf-8")):
        if token.type == "fence":
            words = token.info.split() or ["text"]
            if words == ["text", "output"]:
                found[-1].output = token.content.splitlines()
            else:
                found.append(Block(words, token.content, (token.map or [0])[0] + 1))
    return found


class Reader:
    """Two people who follow one page."""

    def __init__(self, folder: Path, server: str) -> None:
        self.folder = folder
        self.sides = {
            name: Notebook(name, folder, DUET_SIGNALING_URL=server)
            for name in ("owner", "scientist")
        }
        self.launching: Future[Any] | None = None
        self.waiting: list[tuple[Block, Future[Any]]] = []

    def close(self) -> None:
        owner, scientist = self.sides.values()
        try:
            owner.close()
        finally:
            scientist.close()

    def follow(self, block: Block) -> None:
        notebook = self.sides[block.side]
        if "launch_duet(" in block.code:
            self.launching = notebook.start(block.code)
            return
        if "join_duet(" in block.code:
            shown = self.pair(notebook.start(block.code))
            self.check(block, shown)
            return
        self.wait_until_ready(block)
        before = len(notebook.printed())
        running = notebook.start(SHOWN.format(code=json.dumps(block.code)))
        if "waits" in block.words:
            self.waiting.append((block, running))
            return
        try:
            value = running.result(SECONDS)
        except CellError as error:
            assert error.kind == block.error, error
            return
        assert not block.error, f"line {block.line} does not raise {block.error}"
        self.check(block, f"{value}\n{notebook.printed()[before:]}")

    def pair(self, joining: Future[Any]) -> str:
        """Each types what the other one's notebook prints, at the prompts."""
        owner, scientist = self.sides["owner"], self.sides["scientist"]
        assert self.launching is not None, "the owner has not launched yet"
        session_id = owner.wait_for_print(r"Session ID: \S+", SECONDS).split()[-1]
        scientist.wait_for_print("The owner's session ID: ", SECONDS)
        scientist.type_line(session_id)
        client_id = scientist.wait_for_print(r"(?m)^ {4}C[0-9A-Z-]{38}", SECONDS).strip()
        owner.wait_for_print("Your partner's client ID: ", SECONDS)
        owner.type_line(client_id)
        for future in (joining, self.launching):
            future.result(SECONDS)
        self.launching = None
        return scientist.printed()

    def wait_until_ready(self, block: Block) -> None:
        for text, condition in READY[block.side].items():
            if text in block.code:
                deadline = time.monotonic() + SECONDS
                while not self.sides[block.side].run(condition):
                    assert time.monotonic() < deadline, f"line {block.line}: {condition}"
                    time.sleep(0.05)

    def check(self, block: Block, shown: str) -> None:
        for line in block.output:
            pattern = ".*".join(map(re.escape, line.split("…")))
            found = re.search(f"(?m)^{pattern}$", shown)
            assert found, f"line {block.line}: {line!r} is not in\n{shown}"

    def finish(self) -> None:
        for block, running in self.waiting:
            running.result(SECONDS)
            assert not block.output

    def run_commands(self, block: Block) -> None:
        for line in block.code.splitlines():
            program, *arguments = shlex.split(line)
            assert program == "duet"
            done = subprocess.run(
                [sys.executable, "-m", "duet_p2p.cli", *arguments],
                cwd=self.folder,
                env={**os.environ, "DUET_HOME": str(self.folder / "duet")},
                capture_output=True,
                text=True,
                timeout=SECONDS,
            )
            assert done.returncode == 0, done.stderr
            assert done.stdout


SHOWN = """
import ast as _ast
_tree = _ast.parse({code})
_last = _tree.body.pop() if isinstance(_tree.body[-1], _ast.Expr) else None
exec(compile(_tree, "<page>", "exec"), globals())
_value = eval(compile(_ast.Expression(_last.value), "<page>", "eval"), globals()) if _last else None
"" if _value is None else repr(_value)
"""


@pytest.fixture
def reader(tmp_path: Path, server: str) -> Iterator[Reader]:
    made = Reader(tmp_path, server)
    yield made
    made.close()


PAGES = ["docs/tutorial.md", *sorted(f"docs/howto/{p.name}" for p in ROOT.glob("docs/howto/*.md"))]


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", PAGES)
def test_a_page_can_be_followed(reader: Reader, name: str) -> None:
    followed = 0
    for block in blocks(ROOT / name):
        if block.side:
            reader.follow(block)
            followed += 1
        elif block.words == ["sh", "run"]:
            reader.run_commands(block)
    reader.finish()
    assert followed >= 4


@pytest.mark.parametrize("name", PAGES)
def test_each_block_of_code_says_whose_it_is(name: str) -> None:
    for block in blocks(ROOT / name):
        if block.words[0] == "python":
            assert block.side, f"{name}, line {block.line}"
            compile(block.code, name, "exec")


def test_options_that_a_page_names_exist() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "signaling_server", "--help"],
        env={**os.environ, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    known = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", done.stdout))
    text = (ROOT / "docs/howto/host-the-server.md").read_text()
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text))
    assert len(named) > 5 and named <= known, named - known


def test_python_in_other_documents_is_python() -> None:
    for path in [ROOT / "README.md", *ROOT.glob("docs/*.md")]:
        for block in blocks(path):
            if block.words[0] == "python" and "# owner      " not in block.code:
                compile(block.code, f"{path.name}, line {block.line}", "exec")
