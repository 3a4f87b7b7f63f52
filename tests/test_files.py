"""A file is whole or absent."""

import os

import pytest

from jaxdl import files


def test_round_trip_makes_folders_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "a" / "b" / "value.json"
    files.write_json(path, {"x": [1, 2.5, None, "ü"]})
    assert files.read_json(path) == {"x": [1, 2.5, None, "ü"]}
    assert [p.name for p in path.parent.iterdir()] == ["value.json"]
    files.write_bytes(path, b"\x00\x01")
    assert path.read_bytes() == b"\x00\x01"


def test_a_failure_inside_keeps_what_stood_there(tmp_path):
    path = tmp_path / "kept.txt"
    files.write_text(path, "before")

    def fail():
        with files.atomic_path(path) as part:
            part.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "before"
    assert [p.name for p in tmp_path.iterdir()] == ["kept.txt"]


def test_permissions_are_those_of_an_ordinary_file(tmp_path):
    files.write_text(tmp_path / "atomic", "")
    (tmp_path / "ordinary").write_text("")
    assert os.stat(tmp_path / "atomic").st_mode == os.stat(tmp_path / "ordinary").st_mode


def test_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match=r"cannot write .*file/x.json.*choose another folder"):
        files.write_json(tmp_path / "file" / "x.json", {})
    with pytest.raises(OSError, match=r"cannot write .*file/x.jsonl.*choose another folder"):
        files.append_line(tmp_path / "file" / "x.jsonl", "{}")


def test_appending_keeps_what_stood_there(tmp_path):
    for line in ("one", "two"):
        files.append_line(tmp_path / "a" / "log", line)
    assert (tmp_path / "a" / "log").read_text() == "one\ntwo\n"


def test_full_disk():
    with pytest.raises(OSError, match=r"cannot write /dev/full: No space left.*Free some space"):
        files.append_line("/dev/full", "x")


def test_not_json(tmp_path):
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(ValueError, match=r"bad.json is not valid JSON"):
        files.read_json(tmp_path / "bad.json")
    with pytest.raises(FileNotFoundError):
        files.read_json(tmp_path / "absent.json")
