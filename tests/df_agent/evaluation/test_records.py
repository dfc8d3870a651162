import json
import math

import pytest

from df_agent.evaluation.records import EpisodeRecord, PlanRecord, read_records, write_records


def test_records_come_back_as_they_were_written(tmp_path, make_record):
    records = [
        make_record(),
        make_record(episode=1, start=[0.1 + 0.2, 1e-17], success=False, plans=[], path=[]),
        make_record(episode=2, plans=[PlanRecord(3, 7, 0.25, 1), PlanRecord(4, 9, 0.5, 2, True, [[1.0, 2.0]])]),
    ]
    path = write_records(tmp_path / "episodes.jsonl", records)
    assert read_records(path) == records
    assert len(path.read_text().splitlines()) == 3
    assert [file.name for file in tmp_path.iterdir()] == ["episodes.jsonl"]


def test_compressed_records_are_the_same_and_their_bytes_repeat(tmp_path, make_record):
    records = [make_record(episode=0), make_record(episode=1, success=False)]
    (tmp_path / "again").mkdir()
    first, second = (write_records(folder / "episodes.jsonl.gz", records) for folder in (tmp_path, tmp_path / "again"))
    assert first.read_bytes() == second.read_bytes()
    assert first.read_bytes()[3:8] == bytes(5), "neither a file name nor a time in the header"
    assert read_records(first) == read_records(tmp_path / "episodes.jsonl") == records


def test_a_line_that_is_no_record_is_named(tmp_path, make_record):
    line = json.loads(make_record().to_json())
    del line["goal"]
    line["gaol"] = [0, 0]
    path = tmp_path / "episodes.jsonl"
    path.write_text(make_record().to_json() + "\n" + json.dumps(line) + "\n")
    with pytest.raises(ValueError, match=r"line 2.*missing fields \['goal'\], unknown fields \['gaol'\]"):
        read_records(path)


def test_places_that_are_not_known_are_nan_again_when_they_are_read(make_record):
    lost = PlanRecord(0, 0, 0.1, 1, True, [[0.0, math.nan]])
    record = make_record(start=[math.nan, 1.0], goal=[math.nan, 2.0], path=[[math.nan, 0.0]], plans=[lost])
    line = record.to_json()
    assert "NaN" not in line
    assert '"start": [null, 1.0]' in line
    read = EpisodeRecord.from_json(line)
    for found, kept in ((read.start, 1.0), (read.goal, 2.0), (read.path[0], 0.0), (read.plans[0].path[0][::-1], 0.0)):
        assert math.isnan(found[0])
        assert found[1] == kept
    assert math.isnan(record.start[0]), "the record itself is left alone"


def test_numbers_that_json_cannot_hold_are_refused(make_record):
    with pytest.raises(ValueError, match="JSON"):
        make_record(episode_reward=math.nan).to_json()
