"""Metadata from files: what a CSV or JSON-lines file says of which photo, and how it can be wrong."""

from pathlib import Path

import pytest

from engine.errors import InvalidPhotoError
from engine.metadata_file import MetadataFile
from engine.sources import Source


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path.resolve()


def sources(folder: Path) -> list[Source]:
    return [Source(f"{number}.jpg", str(folder / "photos" / f"{number}.jpg"), None) for number in range(3)]


def test_a_csv_file_names_photos_by_id_and_its_numbers_are_numbers(folder: Path) -> None:
    file = folder / "m.csv"
    file.write_bytes(
        '\ufeffid,category,price,sku,note\r\n0.jpg,shoe,59.9,007,"a ""new"", one"\r\n1.jpg,bag,-3,1e5,\r\n'.encode()
    )
    found, unmatched = MetadataFile.read(file).of(sources(folder))
    assert found == {
        "0.jpg": {"category": "shoe", "price": 59.9, "sku": "007", "note": 'a "new", one'},
        "1.jpg": {"category": "bag", "price": -3, "sku": "1e5"},
    }
    assert unmatched == 0


def test_a_json_lines_file_names_photos_by_path_relative_to_itself(folder: Path) -> None:
    file = folder / "m.jsonl"
    file.write_text('{"path": "photos/../photos/0.jpg", "tag": ["a", "b"]}\n\n{"path": "photos/9.jpg", "tag": null}\n')
    found, unmatched = MetadataFile.read(file).of(sources(folder))
    assert found == {"0.jpg": {"tag": ["a", "b"]}}
    assert unmatched == 1


def test_an_absolute_path_is_itself(folder: Path) -> None:
    (folder / "m.csv").write_text(f"path,n\n{folder}/photos/2.jpg,1\n")
    assert MetadataFile.read(folder / "m.csv").of(sources(folder)) == ({"2.jpg": {"n": 1}}, 0)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("m.txt", "", r"m.txt: expected a .csv file with a header, or a .jsonl file"),
        ("m.csv", "name,price\na,1\n", r"line 2: found 'name', 'price'; expected a column id or path"),
        ("m.csv", "id,price\na,1,2\n", r"line 2: expected 2 cells, as many as in the header"),
        ("m.csv", "id,price\na\n", r"line 2: expected 2 cells"),
        ("m.csv", "id,price\n,1\n", r"line 2: found 'price'; expected a column id or path"),
        ("m.csv", "id,price\na,1\na,2\n", r"line 3: 'a' has a row before this one"),
        ("m.csv", 'id,price\na,"1\n', r"can't read the metadata file .*m.csv: unexpected end of data"),
        ("m.csv", b"id\n\xff\n", r"can't read the metadata file .*, in UTF-8"),
        ("m.jsonl", '{"id": "a"}\n{"id": \n', r"line 2: Expecting value"),
        ("m.jsonl", "[1]\n", r"line 1: found \[1\]; expected"),
        ("m.jsonl", '{"id": 3}\n', r"line 1: found the id 3; expected a string"),
        ("m.jsonl", '{"id": "a", "n": NaN}\n', r"photo 'a': its metadata can't be stored as JSON"),
        ("missing.csv", None, r"can't read the metadata file .*missing.csv"),
    ],
)
def test_a_bad_file_is_refused_with_its_line(folder: Path, name: str, text: str | bytes | None, message: str) -> None:
    if text is not None:
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InvalidPhotoError, match=message):
        MetadataFile.read(folder / name)
