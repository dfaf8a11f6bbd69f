"""The notebooks in the repository: no outputs, and the same cells as the Python files."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

if os.environ.get("CI") != "true":
    pytest.importorskip("nbformat", reason="nbformat is not installed")

import nbformat

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "make_notebooks"
FILES = sorted(
    p for p in ROOT.rglob("*.ipynb") if not {".venv", "node_modules", "build"} & set(p.parts)
)


def test_each_example_is_there_in_both_forms():
    sources = sorted(p.with_suffix("") for p in ROOT.glob("notebooks/*/*.py"))
    assert [p.with_suffix("") for p in FILES] == sources
    assert len(sources) >= 20


@pytest.mark.parametrize("path", FILES, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_a_notebook_is_valid_and_has_no_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert notebook.cells[0].cell_type == "markdown"
    for cell in notebook.cells:
        assert cell.metadata == {}
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None
            compile(cell.source, str(path), "exec")


def test_notebooks_are_as_the_script_writes_them():
    done = subprocess.run([sys.executable, SCRIPT, "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
