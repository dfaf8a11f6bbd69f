"""The documentation as a static site: Markdown in, one HTML page for each file out, no JavaScript.

    scripts/docs [--out build/site]

Fenced code may say whose it is: ``python owner``, ``python scientist``; blocks of the two that
follow each other stand side by side. ``text output`` is what the block before it shows. The other
words after the language are for tests/docs, which run the blocks.

A link that leads nowhere ends the build; so does a page that no other page leads to.
"""

from __future__ import annotations

import argparse
import html
import posixpath
import re
import shutil
import string
import sys
from dataclasses import dataclass, field
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

ROOT = Path(__file__).resolve().parents[1]
THEME = Path(__file__).parent / "docs_theme"

SECTIONS = {
    "Begin": ["docs/index.md", "docs/tutorial.md", "notebooks/README.md"],
    "How to": [
        "docs/howto/share-a-dataframe.md",
        "docs/howto/allow-a-training-run.md",
        "docs/howto/host-the-server.md",
        "docs/howto/read-the-audit-log.md",
        "docs/console.md",
        "docs/web-workbench.md",
    ],
    "Understand": [
        "docs/threat-model.md",
        "docs/architecture.md",
        "docs/surface.md",
        "docs/steps.md",
        "docs/transport.md",
        "docs/performance.md",
        "docs/protocol.md",
    ],
    "Project": ["README.md", "CHANGELOG.md"],
}
"""The order of pages. A file of docs/ that is not named comes last, under its own title."""


NAMES = {"docs/index.md": "Overview", "README.md": "README"}
"""What a page is called in the list of pages, where that is not its title."""

BEGINNINGS = {"docs/index.md", "README.md"}
"""Pages that people come to from outside."""


class DeadLink(Exception):
    """A page links to what is not there."""


@dataclass
class Page:
    """One Markdown file."""

    source: str
    """Its path from the root of the checkout."""
    title: str = ""
    anchors: set[str] = field(default_factory=set)
    links: set[tuple[str, str]] = field(default_factory=set)
    """(source of another page, anchor or empty)."""
    body: str = ""

    @property
    def path(self) -> str:
        """Of the HTML file in the site."""
        if self.source.startswith("docs/"):
            return self.source.removeprefix("docs/").removesuffix(".md") + ".html"
        return self.source.removesuffix(".md").lower().replace("/readme", "") + ".html"

    @property
    def name(self) -> str:
        """In the list of pages."""
        return NAMES.get(self.source, self.title)

    def href(self, other: str) -> str:
        """A relative link from this page to a path of the site."""
        return posixpath.relpath(other, posixpath.dirname(self.path) or ".")


def slug(heading: str) -> str:
    """The anchor of a heading, as GitHub makes it."""
    kept = re.sub(r"[^\w\- ]", "", heading.lower())
    return kept.strip().replace(" ", "-")


class Builder:
    """Reads all pages, then writes them."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.files: set[str] = set()  # linked files that are no pages
        found = [str(p.relative_to(ROOT)) for p in sorted((ROOT / "docs").rglob("*.md"))]
        named = [s for sources in SECTIONS.values() for s in sources if (ROOT / s).exists()]
        self.sections = {
            name: [s for s in sources if (ROOT / s).exists()] for name, sources in SECTIONS.items()
        }
        rest = [source for source in found if source not in named]
        if rest:
            self.sections["More"] = rest
        self.pages = {source: Page(source) for source in [*named, *rest]}
        self.markdown = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])

    def build(self) -> None:
        """Writes the site.

        Raises:
            DeadLink: with all that lead nowhere.
        """
        for page in self.pages.values():
            self._read(page)
        dead = [
            f"{page.source}: {source}#{anchor}"
            for page in self.pages.values()
            for source, anchor in page.links
            if anchor and anchor not in self.pages[source].anchors
        ]
        reached = {source for page in self.pages.values() for source, _ in page.links}
        dead += [f"no page links to {s}" for s in self.pages if s not in reached | BEGINNINGS]
        if dead:
            raise DeadLink("\n".join(sorted(dead)))
        shutil.rmtree(self.out, ignore_errors=True)
        template = string.Template((THEME / "page.html").read_text(encoding="utf-8"))
        for page in self.pages.values():
            target = self.out / page.path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(
                template.substitute(
                    title=html.escape(page.title),
                    root=page.href(".") + "/" if "/" in page.path else "",
                    navigation=self._navigation(page),
                    content=page.body,
                    neighbours=self._neighbours(page),
                ),
                encoding="utf-8",
            )
        shutil.copy(THEME / "style.css", self.out / "style.css")
        for name in self.files:
            target = self.out / "files" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target)

    # reading

    def _read(self, page: Page) -> None:
        tokens = self.markdown.parse((ROOT / page.source).read_text(encoding="utf-8"))
        for number, token in enumerate(tokens):
            if token.type == "heading_open":
                self._heading(page, token, tokens[number + 1])
            for child in token.children or ():
                self._link(page, child)
        page.body = "".join(self._parts(tokens))

    def _heading(self, page: Page, token: Token, inline: Token) -> None:
        text = "".join(
            c.content for c in inline.children or () if c.type in ("text", "code_inline")
        )
        page.title = page.title or text
        anchor, count = slug(text), 0
        while anchor in page.anchors:
            count += 1
            anchor = f"{slug(text)}-{count}"
        page.anchors.add(anchor)
        token.attrSet("id", anchor)
        if token.tag == "h1":
            return
        link = Token("html_inline", "", 0)
        link.content = f'<a href="#{anchor}" aria-label="Link to this section">#</a>'
        assert inline.children is not None
        inline.children.append(link)

    def _link(self, page: Page, token: Token) -> None:
        name = {"link_open": "href", "image": "src"}.get(token.type)
        target = str(token.attrGet(name)) if name else ""
        if not name or target.startswith(("https://", "http://", "mailto:")):
            return
        where, _, anchor = target.partition("#")
        source = posixpath.normpath(posixpath.join(posixpath.dirname(page.source), where))
        if not where:
            source = page.source
        if (ROOT / source).is_dir() and f"{source}/README.md" in self.pages:
            source = f"{source}/README.md"
        if source in self.pages:
            page.links.add((source, anchor))
            href = "" if source == page.source else page.href(self.pages[source].path)
            token.attrSet(name, href + (f"#{anchor}" if anchor else ""))
        elif source.startswith("..") or not (ROOT / source).is_file():
            raise DeadLink(f"{page.source}: {target}")
        else:
            self.files.add(source)
            token.attrSet(name, page.href(f"files/{source}"))

    # writing

    def _parts(self, tokens: list[Token]) -> list[str]:
        """HTML, piece by piece; blocks of the two sides that touch are put side by side."""
        parts: list[str] = []
        run: list[Token] = []
        sides: list[str] = []

        def flush() -> None:
            if run:
                parts.append(self.markdown.renderer.render(run, self.markdown.options, {}))
                run.clear()

        number = 0
        while number < len(tokens):
            token = tokens[number]
            if token.type == "fence":
                flush()
                following = tokens[number + 1] if number + 1 < len(tokens) else None
                sides = [_side(token), _side(following)]
                if sorted(sides) == ["owner", "scientist"] and following is not None:
                    pair = self._figure(token) + self._figure(following)
                    parts.append(f'<div class="pair">{pair}</div>')
                    number += 2
                    continue
                parts.append(self._figure(token))
            elif token.type == "table_open":
                flush()
                parts.append('<div class="table" tabindex="0">')
                run.append(token)
            elif token.type == "table_close":
                run.append(token)
                flush()
                parts.append("</div>")
            else:
                run.append(token)
            number += 1
        flush()
        return parts

    def _figure(self, token: Token) -> str:
        words = token.info.split()
        language = words[0] if words else "text"
        side = _side(token)
        try:
            lexer = get_lexer_by_name(language)
        except ClassNotFound:
            lexer = get_lexer_by_name("text")
        code = highlight(token.content, lexer, HtmlFormatter(nowrap=True))
        caption = {"owner": "Owner", "scientist": "Scientist", "output": "shows"}.get(side, "")
        shown = f"<figcaption>{caption}</figcaption>" if caption else ""
        pre = f'<pre tabindex="0"><code>{code}</code></pre>'
        return f'<figure class="code {side}">{shown}{pre}</figure>'

    def _navigation(self, page: Page) -> str:
        parts = []
        for name, sources in self.sections.items():
            items = []
            for source in sources:
                other = self.pages[source]
                here = ' aria-current="page"' if source == page.source else ""
                href = page.href(other.path)
                items.append(f'<li><a href="{href}"{here}>{html.escape(other.name)}</a></li>')
            parts.append(f"<h2>{html.escape(name)}</h2><ul>{''.join(items)}</ul>")
        return "\n".join(parts)

    def _neighbours(self, page: Page) -> str:
        order = list(self.pages)
        at = order.index(page.source)
        links = []
        for step, arrow in ((-1, "← {}"), (1, "{} →")):
            if 0 <= at + step < len(order):
                other = self.pages[order[at + step]]
                text = arrow.format(html.escape(other.name))
                links.append(f'<a href="{page.href(other.path)}">{text}</a>')
        return "".join(links)


def _side(token: Token | None) -> str:
    """``owner``, ``scientist``, ``output`` or nothing."""
    words = token.info.split() if token is not None and token.type == "fence" else []
    return next((w for w in words[1:] if w in ("owner", "scientist", "output")), "")


def main() -> None:
    """Builds the site; a dead link is one line and exit code 1."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "site")
    out: Path = parser.parse_args().out
    builder = Builder(out)
    try:
        builder.build()
    except DeadLink as error:
        sys.exit(f"Dead links:\n{error}")
    print(f"{len(builder.pages)} pages in {out}")


if __name__ == "__main__":
    main()
