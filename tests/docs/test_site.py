"""The built site: every link leads somewhere, nothing is loaded from elsewhere, no raw Markdown."""

import importlib.util
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).resolve().parents[2]


class Page(HTMLParser):
    """Links, ids and what is loaded."""

    def __init__(self, path):
        super().__init__()
        self.path, self.links, self.ids, self.loaded, self.headings = path, [], [], [], []
        self.scripts = 0
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag == "a":
            self.links.append(given["href"])
        if tag in ("link", "img"):
            self.loaded.append(given.get("href") or given.get("src"))
        if tag == "script" or any(name.startswith("on") for name in given):
            self.scripts += 1
        if "id" in given:
            self.ids.append(given["id"])
        if tag == "h1":
            self.headings.append(tag)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    out = tmp_path_factory.mktemp("site")
    script = ROOT / "scripts" / "docs_site.py"
    run = [sys.executable, str(script), "--out", str(out)]
    done = subprocess.run(run, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return {path.relative_to(out): Page(path) for path in sorted(out.rglob("*.html"))}


def test_every_page_of_the_documentation_is_there(site):
    sources = {p.relative_to(ROOT / "docs").with_suffix(".html") for p in ROOT.glob("docs/**/*.md")}
    assert sources <= set(site)
    assert {Path("index.html"), Path("readme.html"), Path("notebooks.html")} <= set(site)


def test_no_link_is_dead(site):
    dead, checked = [], 0
    for page in site.values():
        for link in [*page.links, *page.loaded]:
            parts = urlsplit(link)
            if parts.scheme:
                assert parts.scheme in ("https", "http", "mailto"), link
                continue
            checked += 1
            target = (page.path.parent / unquote(parts.path)).resolve() if parts.path else page.path
            if not target.is_file():
                dead.append(f"{page.path.name}: {link}")
            elif parts.fragment and parts.fragment not in Page(target).ids:
                dead.append(f"{page.path.name}: {link} has no such section")
    assert not dead
    assert checked > 100


def test_pages_load_nothing_from_elsewhere_and_run_nothing(site):
    for page in site.values():
        assert all(not urlsplit(link).scheme for link in page.loaded), page.path
        assert page.scripts == 0


def test_each_page_has_one_title_and_no_id_twice(site):
    for page in site.values():
        assert len(page.headings) == 1, page.path
        assert len(page.ids) == len(set(page.ids)), page.path


def test_owner_and_scientist_stand_side_by_side(site):
    text = site[Path("tutorial.html")].path.read_text()
    assert text.count('class="code owner"') >= 5 and text.count('class="code scientist"') >= 5
    assert '<div class="pair"><figure class="code owner">' in text


def builder(tmp_path, monkeypatch, text):
    spec = importlib.util.spec_from_file_location("docs_site", ROOT / "scripts" / "docs_site.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "docs_site", module)
    spec.loader.exec_module(module)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text(text)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    return module, module.Builder(tmp_path / "site")


@pytest.mark.parametrize(
    "link",
    ["missing.md", "#nowhere", "index.md#nowhere", "../../outside.md", "../docs", "x.png"],
)
def test_a_dead_link_ends_the_build(tmp_path, monkeypatch, link):
    module, made = builder(tmp_path, monkeypatch, f"# Title\n\n[here]({link}) ![x]({link})\n")
    with pytest.raises(module.DeadLink):
        made.build()


def test_a_page_that_nobody_leads_to_ends_the_build(tmp_path, monkeypatch):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "lonely.md").write_text("# Lonely\n")
    (tmp_path / "docs").rename(tmp_path / "was")
    module, _ = builder(tmp_path, monkeypatch, "# Title\n\n[top](#title)\n")
    (tmp_path / "was" / "lonely.md").rename(tmp_path / "docs" / "lonely.md")
    with pytest.raises(module.DeadLink, match=r"lonely\.md"):
        module.Builder(tmp_path / "site").build()


def test_raw_html_in_a_page_stays_text(tmp_path, monkeypatch):
    _, made = builder(tmp_path, monkeypatch, "# Title\n\n<script>alert(1)</script> <b>x</b>\n")
    made.build()
    text = (tmp_path / "site" / "index.html").read_text()
    assert "<script" not in text and "&lt;b&gt;" in text
