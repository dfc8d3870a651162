import base64
import re

import pytest

from df_agent.benchmark.document import (
    Heading,
    Link,
    Media,
    Paragraph,
    Table,
    as_html,
    as_markdown,
    write_text,
)

EVIL = "<script>alert('x')</script> & | \"quoted\""


@pytest.fixture
def blocks(tmp_path):
    (tmp_path / "a b.png").write_bytes(b"picture")
    (tmp_path / "film.mp4").write_bytes(b"film")
    return [
        Heading("Title", 1),
        Heading("One & two"),
        Paragraph(EVIL),
        Heading("Three"),
        Table(["policy", "says"], [["a", EVIL], ["b", "two\nlines"]], wordy=(1,)),
        Media(tmp_path / "a b.png", "A picture"),
        Media(tmp_path / "film.mp4", "A film"),
        Link("elsewhere", "failures.html"),
    ]


def test_the_page_is_escaped_and_needs_nothing_else(blocks):
    page = as_html(blocks)
    assert "<script>" not in page
    assert page.count("&lt;script&gt;") == 2
    assert f'<img alt="A picture" src="data:image/png;base64,{base64.b64encode(b"picture").decode()}">' in page
    assert f'src="data:video/mp4;base64,{base64.b64encode(b"film").decode()}"' in page
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert {source.split(":")[0].split("#")[0] for source in sources} == {"data", "", "failures.html"}
    assert "url(" not in page
    assert "@import" not in page
    assert "<title>Title</title>" in page


def test_the_navigation_leads_to_the_sections(blocks):
    page = as_html(blocks)
    targets = re.findall(r'href="#([^"]*)"', page)
    assert targets == ["one---two", "three"]
    for target in targets:
        assert f'<h2 id="{target}">' in page


def test_markdown_tables_survive_pipes_and_line_breaks(blocks):
    text = as_markdown(blocks)
    assert (
        "| policy | says |\n|---|---|\n| a | <script>alert('x')</script> & \\| \"quoted\" |\n| b | two lines |" in text
    )
    assert "![A picture](a%20b.png)" in text
    assert "[A film](film.mp4)" in text


def test_mistakes_are_named(tmp_path):
    with pytest.raises(ValueError, match="a row of 1 cells in a table of 2 columns"):
        Table(["a", "b"], [["1"]])
    with pytest.raises(ValueError, match="cannot embed notes"):
        Media(tmp_path / "notes.txt", "")


def test_files_are_written_whole(tmp_path):
    path = write_text(tmp_path / "a.md", "one")
    write_text(path, "two – dash")
    assert path.read_text(encoding="utf-8") == "two – dash"
    assert list(tmp_path.iterdir()) == [path]
