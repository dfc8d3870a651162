"""A document of headings, paragraphs, tables and pictures, written as Markdown or as one self-contained HTML page."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from df_agent.files import replace_file

MEDIA_TYPES = {".png": "image/png", ".gif": "image/gif", ".mp4": "video/mp4"}

STYLE = """
:root { color-scheme: light; }
body { margin: 0 auto; padding: 2rem 1.5rem 5rem; max-width: 76rem; background: #fff; color: #22262b;
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 1rem; }
h2 { font-size: 1.4rem; margin: 3rem 0 .8rem; padding-top: 1rem; border-top: 1px solid #dfe2e6; }
h3 { font-size: 1.08rem; margin: 2rem 0 .5rem; }
p { max-width: 48rem; margin: .6rem 0; }
nav { display: flex; flex-wrap: wrap; gap: .4rem 1.2rem; margin: 1rem 0; }
a { color: #0b5cad; }
.scroll { overflow: auto; max-height: 80vh; margin: .8rem 0 1.4rem; border: 1px solid #dfe2e6; border-radius: 6px; }
table { border-collapse: separate; border-spacing: 0; font-size: .84rem; width: 100%;
  font-variant-numeric: tabular-nums; }
th, td { padding: .38rem .7rem; text-align: right; white-space: nowrap; border-bottom: 1px solid #eceef1; }
th { position: sticky; top: 0; z-index: 2; background: #f4f5f7; font-weight: 600; vertical-align: bottom;
  white-space: normal; min-width: 3.5rem; }
th:first-child, td:first-child { position: sticky; left: 0; background: #fff; text-align: left; font-weight: 600;
  z-index: 1; }
th:first-child { z-index: 3; background: #f4f5f7; }
.text { text-align: left; }
td.text { white-space: normal; min-width: 11rem; }
tbody tr:last-child td { border-bottom: 0; }
tbody tr:hover td { background: #f8f9fb; }
figure { margin: 1rem 0 2rem; }
figure img, figure video { max-width: 100%; height: auto; }
figcaption { color: #5b626c; font-size: .88rem; max-width: 48rem; }
"""


@dataclass(frozen=True)
class Heading:
    """A heading; level 1 is the document's title."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Paragraph:
    """Plain text."""

    text: str


@dataclass(frozen=True)
class Table:
    """A table of plain text.

    Attributes:
        columns: their names.
        rows: cells, as many as columns.
        wordy: indices of columns of text, which are set to the left and may break; the first one is a row's name.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    wordy: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"a row of {len(row)} cells in a table of {len(self.columns)} columns: {list(row)}")


@dataclass(frozen=True)
class Media:
    """A picture or a video: PNG, GIF or MP4."""

    path: Path
    caption: str

    def __post_init__(self) -> None:
        if self.path.suffix not in MEDIA_TYPES:
            raise ValueError(f"cannot embed {self.path.name}: not one of {', '.join(MEDIA_TYPES)}")


@dataclass(frozen=True)
class Link:
    """A link to another file of the report."""

    text: str
    target: str


Block = Heading | Paragraph | Table | Media | Link


def as_markdown(blocks: Sequence[Block]) -> str:
    """Return the document as Markdown; pictures are linked by name, so they must lie beside it."""
    return "\n\n".join(_markdown(block) for block in blocks) + "\n"


def as_html(blocks: Sequence[Block]) -> str:
    """Return the document as a page that needs nothing else: pictures and videos are inside. All text is escaped."""
    titles = [block for block in blocks if isinstance(block, Heading)]
    title = titles[0].text if titles else "Report"
    sections = [block.text for block in titles if block.level == 2]
    body = []
    for block in blocks:
        body.append(_html(block))
        if isinstance(block, Heading) and block.level == 1 and len(sections) > 1:
            links = "".join(f'<a href="#{_anchor(text)}">{html.escape(text)}</a>' for text in sections)
            body.append(f"<nav>{links}</nav>")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def write_text(path: Path, text: str) -> Path:
    """Write a file whole or not at all."""
    replace_file(path, text.encode())
    return path


def _markdown(block: Block) -> str:
    if isinstance(block, Heading):
        return f"{'#' * block.level} {block.text}"
    if isinstance(block, Paragraph):
        return block.text
    if isinstance(block, Media):
        link = f"({block.path.name.replace(' ', '%20')})"
        shown = f"[{block.caption}]{link}" if block.path.suffix == ".mp4" else f"![{block.caption}]{link}"
        return f"{shown}\n\n*{block.caption}*"
    if isinstance(block, Link):
        return f"[{block.text}]({block.target})"
    sides = ["---" if i == 0 or i in block.wordy else "---:" for i in range(len(block.columns))]
    cells = [[_cell(text) for text in row] for row in [block.columns, *block.rows]]
    lines = [f"| {' | '.join(row)} |" for row in cells]
    return "\n".join([lines[0], f"|{'|'.join(sides)}|", *lines[1:]])


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _html(block: Block) -> str:
    if isinstance(block, Heading):
        return f'<h{block.level} id="{_anchor(block.text)}">{html.escape(block.text)}</h{block.level}>'
    if isinstance(block, Paragraph):
        return f"<p>{html.escape(block.text)}</p>"
    if isinstance(block, Link):
        return f'<p><a href="{html.escape(block.target)}">{html.escape(block.text)}</a></p>'
    if isinstance(block, Table):
        return _html_table(block)
    kind, caption = MEDIA_TYPES[block.path.suffix], html.escape(block.caption)
    source = f"data:{kind};base64,{base64.b64encode(block.path.read_bytes()).decode()}"
    shown = (
        f'<video controls loop muted playsinline src="{source}"></video>'
        if kind.startswith("video")
        else f'<img alt="{caption}" src="{source}">'
    )
    return f"<figure>{shown}<figcaption>{caption}</figcaption></figure>"


def _html_table(table: Table) -> str:
    def row(cells: Sequence[str], tag: str) -> str:
        kinds = [' class="text"' if i in table.wordy else "" for i in range(len(cells))]
        return "".join(f"<{tag}{kind}>{html.escape(text)}</{tag}>" for kind, text in zip(kinds, cells, strict=True))

    rows = "\n".join(f"<tr>{row(cells, 'td')}</tr>" for cells in table.rows)
    head = f"<thead><tr>{row(table.columns, 'th')}</tr></thead>"
    return f'<div class="scroll"><table>{head}\n<tbody>\n{rows}\n</tbody></table></div>'


def _anchor(text: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in text.lower()).strip("-")
