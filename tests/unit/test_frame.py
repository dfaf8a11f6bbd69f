"""Tables for other programs: what a scientist wrote is no formula there."""

import csv
import io

import pandas
import pytest

from duet_p2p.objects.frame import frame_of

FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "＝1+1", '=HYPERLINK("http://x")']
WORDS = ["loss", "a=1", "2 - 1", "", "'=1"]


def cells(text):
    return list(csv.reader(io.StringIO(text, newline="")))


@pytest.mark.parametrize("text", FORMULAS)
def test_a_text_that_begins_like_a_formula_is_written_as_text(text, tmp_path):
    frame = frame_of([(text, -1, [text], ("ok", text))], ["Name", "Number", "Tags", "Pair"])
    (_, (row, name, number, tags, pair)) = cells(frame.to_csv())
    assert (row, name, number) == ("0", f"'{text}", "-1")
    assert tags[0] == "[" and pair[0] == "("
    frame.to_csv(tmp_path / "table.csv", index=False)
    (_, (name, *_)) = cells((tmp_path / "table.csv").read_bytes().decode())
    assert name == f"'{text}"
    assert frame["Name"][0] == text  # the table itself has what was written


def test_so_it_is_in_an_index_a_column_and_a_part():
    frame = frame_of([("=a", "=b", "=c"), ("=d", "=e", "=f")], ["x", "y", "=z"])
    for table in (
        frame.set_index("x"),
        frame.set_index(["x", "y"]),
        frame[:1],
        frame.T,
        frame[["y"]],
    ):
        written = [cell for row in cells(table.to_csv()) for cell in row if "=" in cell]
        assert written and all(cell.startswith("'=") for cell in written)


@pytest.mark.parametrize("word", WORDS)
def test_other_texts_are_written_as_they_are(word):
    assert cells(frame_of([(word, 1)], ["Name", "n"]).to_csv(index=False))[1][0] == word


@pytest.mark.parametrize("way", ["to_excel", "to_clipboard"])
def test_so_it_is_on_the_other_ways_to_a_spreadsheet(way, monkeypatch):
    seen = []
    monkeypatch.setattr(pandas.DataFrame, way, lambda frame, *_, **__: seen.append(frame))
    getattr(frame_of([("=1",)], ["Name"]), way)("somewhere")
    assert type(seen[0]) is pandas.DataFrame and list(seen[0]["Name"]) == ["'=1"]
