"""A process that runs code cell by cell, as a notebook's kernel does; driven over a socket.

    python cells.py FD

Each request is one line of JSON, `{"code": …}`; the code runs in one lasting namespace, and the
answer is `{"value": …}` of the last expression or `{"error": class, "text": …, "trace": …}`.
SIGINT interrupts the running cell only. stdin, stdout and stderr stay free for prompts and prints.
"""

import ast
import json
import socket
import sys
import traceback
from typing import Any


def run(code: str, namespace: dict[str, Any]) -> Any:
    tree = ast.parse(code)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "<cell>", "exec"), namespace)
    if last is None:
        return None
    return eval(compile(ast.Expression(last.value), "<cell>", "eval"), namespace)


def serve(fd: int) -> None:
    """Runs what comes until the other end closes."""
    link = socket.socket(fileno=fd)
    namespace: dict[str, Any] = {"__name__": "cells"}
    with link, link.makefile("rw") as stream:
        for line in stream:
            try:
                answer = {"value": run(json.loads(line)["code"], namespace)}
            except BaseException as error:
                answer = {
                    "error": type(error).__name__,
                    "text": str(error),
                    "trace": traceback.format_exc(),
                }
            stream.write(json.dumps(answer, default=repr) + "\n")
            stream.flush()


if __name__ == "__main__":
    serve(int(sys.argv[1]))
