"""A line of column names that stands again among the rows, as where files were joined, is refused by row."""

import pytest

from counterpoint.data.interactions.files import read_table as interactions
from counterpoint.data.tables import read_table
from counterpoint.errors import CounterpointError


@pytest.mark.parametrize("again", ["text,label", " text , label", '"text","label"'])
def test_names_that_stand_again(tmp_path, again):
    path = tmp_path / "a.csv"
    path.write_text(f"text,label\na,x\nb,y\n{again}\nc,x\n")
    with pytest.raises(CounterpointError, match="row 3: the line of column names stands here again"):
        read_table(path)
    path.write_text(f"text,label\n{again}\nb,y\n{again}\n")
    with pytest.raises(CounterpointError, match=r"row 1: .*\(2 rows are like this\)"):
        read_table(path)


def test_rows_that_say_some_names_are_rows(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("text,label\ntext,x\nb,label\nTEXT,LABEL\n")
    assert len(read_table(path)) == 3
    path.write_text("text\ntext\nb\n")
    assert len(read_table(path)) == 2


def test_interactions(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("user\titem\n1\t2\nuser\titem\n2\t3\n")
    with pytest.raises(CounterpointError, match="row 2: the line of column names stands here again"):
        interactions(path)
