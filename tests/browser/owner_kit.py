"""A real owner: a Python process of its own with torch and an engine, driven line by line.

`Owner.run` executes statements there and gives the value of the last expression, as text that
`ast.literal_eval` reads. Names in scope: `sy`, `torch`, `time`, `duet`.
"""

from __future__ import annotations

import ast
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

PATIENCE = 60.0
START = 150.0  # to import torch on a machine that does a lot else

_LOOP = r"""
import ast, contextlib, io, json, sys, time, traceback
import torch
import duet_p2p as sy
scope = {"torch": torch, "sy": sy, "time": time}
out, sys.stdout = sys.stdout, sys.stderr  # threads of the session print whenever they like
print(json.dumps({"ready": True}), file=out, flush=True)
for line in sys.stdin:
    source = json.loads(line)
    answer = {}
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            tree = ast.parse(source)
            last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
            exec(compile(tree, "<test>", "exec"), scope)
            code = compile(ast.Expression(last.value), "<test>", "eval") if last else "None"
            answer["value"] = repr(eval(code, scope))
    except BaseException:
        answer["error"] = traceback.format_exc()
    answer["said"] = said.getvalue()
    print(json.dumps(answer), file=out, flush=True)
"""


class Owner:
    """One owner process."""

    def __init__(self, home: Path) -> None:
        environment = os.environ | {"DUET_HOME": str(home), "PYTHONUNBUFFERED": "1"}
        self._errors = (home.parent / f"{home.name}-stderr.txt").open("w+")
        self._process = subprocess.Popen(
            [sys.executable, "-c", _LOOP],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=environment,
        )
        self._answers: queue.Queue[dict[str, Any]] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self.session_id = ""
        assert self._answers.get(timeout=START) == {"ready": True}

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._answers.put(json.loads(line))

    def run(self, source: str, *, timeout: float = PATIENCE) -> Any:
        """Executes statements; the value of the last one if it is an expression."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(source) + "\n")
        self._process.stdin.flush()
        answer = self._answers.get(timeout=timeout)
        if "error" in answer:
            raise AssertionError(answer["error"])
        try:
            return ast.literal_eval(answer["value"])
        except (SyntaxError, ValueError):
            return answer["value"]

    def launch(self, url: str, *, share: str = "", **options: object) -> str:
        """Starts a session at a signalling server and shares things; gives its session ID.

        Its engine is in a thread, where the test does not ask for `engine="process"`: a process
        imports torch for each session, and most tests here are about what the browser does.
        """
        options = {"engine": "thread", **options}
        more = "".join(f", {name}={value!r}" for name, value in options.items())
        self.session_id = self.run(
            f"duet = sy.launch_duet(url={url!r}, wait=False{more})\n{share}\nduet.id",
            timeout=START,  # of an engine process, which imports torch too
        )
        return self.session_id

    def expect(self, client_id: str) -> None:
        """A person types the client ID that the page showed."""
        self.run(f"duet.expect_client({client_id!r})")

    def wait(self, seconds: float = 30) -> None:
        """Until the partner is there."""
        self.run(f"duet.wait({seconds})", timeout=seconds + 10)

    def close(self) -> None:
        if self._process.poll() is None:
            assert self._process.stdin is not None
            with suppress(AssertionError, queue.Empty, BrokenPipeError):
                self.run("if 'duet' in globals(): duet.close()")
            self._process.stdin.close()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(10)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._errors.close()


@contextmanager
def owner(home: Path) -> Iterator[Owner]:
    """An owner process, closed at the end."""
    made = Owner(home)
    try:
        yield made
    finally:
        made.close()


@contextmanager
def signalling_server(*options: str) -> Iterator[str]:
    """The URL of a signalling server process."""
    with subprocess.Popen(
        [
            *(sys.executable, "-m", "signaling_server"),
            *("--listen", "127.0.0.1:0", "--metrics-listen", "", *options),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        url = next((word.rstrip(".,") for word in line.split() if word.startswith("http")), None)
        assert url, f"the server did not start: {line}"
        threading.Thread(target=process.stdout.read, daemon=True).start()
        try:
            yield url
        finally:  # without it `Popen` would wait for ever after a failure
            process.terminate()
            process.wait(15)
