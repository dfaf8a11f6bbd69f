"""The browser's client has the same numbers, and is of the same release."""

import re
from pathlib import Path

import duet_p2p
from duet_p2p import limits
from duet_p2p.surface.table import DIGEST

SRC = Path(__file__).parents[2] / "web" / "src"


def test_every_limit_of_the_browser_is_that_of_python():
    text = (SRC / "limits.js").read_text()
    found = dict(re.findall(r"export const ([A-Z_]+) = ([0-9._]+);", text))
    assert len(found) > 50 and len(found) == text.count("export const")
    different = {
        name: (value, getattr(limits, name, None))
        for name, value in found.items()
        if float(value.replace("_", "")) != getattr(limits, name, None)
    }
    assert different == {}


def test_the_page_says_the_release_and_the_table_that_it_was_made_for():
    assert f"VERSION = '{duet_p2p.__version__}'" in (SRC / "version.js").read_text()
    assert f'"digest": "{DIGEST}"' in (SRC / "surface_types.json").read_text()
