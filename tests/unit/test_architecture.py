"""Imports go only to a lower rank: the folder boundary is the process boundary."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

RANKS = {
    "signaling_server": 0,
    "errors": 0,
    "limits": 0,
    "identity": 1,
    "wire": 1,
    "protocol": 2,
    "transport": 3,
    "session": 4,
    "surface": 4,
    "engine": 5,
    "objects": 6,
    "owner": 7,
    "scientist": 7,
    "prompts": 8,
    "meeting": 8,
    "console": 8,
    "notebook": 8,
    "log_sinks": 8,
    "lobby": 9,
    "invitation": 9,
    "lifetime": 10,
    "opening": 10,
    "api": 11,
    "aio": 12,
    "demo": 13,
    "web": 13,
    "cli": 14,
}
# Folders of equal rank that may not see each other, and folders that a rank alone would allow.
APART = {
    ("owner", "scientist"),
    ("scientist", "owner"),
    ("session", "surface"),
    ("surface", "session"),
    ("engine", "session"),
    ("engine", "transport"),
    ("engine", "protocol"),
    ("engine", "identity"),
    ("surface", "transport"),
    ("surface", "protocol"),
    ("objects", "engine"),
    ("objects", "session"),
    ("objects", "transport"),
    ("scientist", "engine"),
}
# The package itself and the methods that it installs sit beside the ranks: they import notes only
# when a method is called.
ROOT_FILES = {"__init__", "methods"}


def sources() -> list[Path]:
    return sorted(
        path
        for package in ("duet_p2p", "signaling_server")
        for path in (ROOT / package).rglob("*.py")
    )


def part_of(dotted: str) -> str | None:
    """The folder or file that a dotted module name belongs to, by its first part below the root."""
    parts = dotted.split(".")
    if parts[0] == "signaling_server":
        return "signaling_server"
    if parts[0] != "duet_p2p":
        return None
    return parts[1] if len(parts) > 1 else "__init__"


def imports_of(path: Path) -> list[str]:
    """Every absolute import of our own packages, `from a import b` as a.b."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; write the whole name"
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return [name for name in found if part_of(name) is not None]


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_to_lower_ranks(path: Path) -> None:
    own = part_of(".".join(path.relative_to(ROOT).with_suffix("").parts))
    assert own is not None
    if own in ROOT_FILES:
        return
    for name in imports_of(path):
        target = part_of(name)
        assert target is not None
        if target == own or (target in ROOT_FILES or target == "__version__"):
            continue
        assert own != "signaling_server", f"{path.name} imports {name}"
        assert target in RANKS, f"{name}: no rank; add it to RANKS on purpose"
        assert RANKS[target] < RANKS[own], f"{own} (rank {RANKS[own]}) imports {name}"
        assert (own, target) not in APART, f"{own} must not know {target}"


def test_no_submodule_is_called_duet() -> None:
    assert not (ROOT / "duet_p2p" / "duet.py").exists()


def test_no_file_is_longer_than_500_lines() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in sources()
        if (lines := len(path.read_text().splitlines())) > 500
    }
    assert not long, f"look for the second noun: {long}"


def test_every_rank_exists() -> None:
    for part in RANKS.keys() - {"signaling_server"}:
        assert (ROOT / "duet_p2p" / part).is_dir() or (ROOT / f"duet_p2p/{part}.py").is_file(), part
