"""The rows of a bulk prediction."""

from pathlib import Path
from threading import Event

from serving.client.answers import Answer, Input, Result
from serving.client.csv_rows import count_results, header, watched, write_rows

RESULTS = [
    Result(Input('a, "b"\n.png', 0, b""), Answer(7, 0.75, (0.025,) * 9 + (0.775,), "ok", 17)),
    Result(Input("examples.gz", 12, b""), None, "this is no\nimage, but text"),
]


def test_rows_with_and_without_probabilities(tmp_path: Path) -> None:
    file = tmp_path / "part-0.csv"
    write_rows(RESULTS, file, with_probabilities=False)
    first = '"a, ""b""\n.png",0,7,0.750000,ok,'
    assert header(False) + file.read_text() == (
        f'source,index,digit,confidence,status,error\n{first}\nexamples.gz,12,,,,"this is no\nimage, but text"\n'
    )
    write_rows(RESULTS[:1], file, with_probabilities=True)
    assert file.read_text() == f"{first}{',0.025000' * 9},0.775000\n"
    assert header(True).strip().endswith("error,p0,p1,p2,p3,p4,p5,p6,p7,p8,p9")


def test_rows_are_counted_and_not_lines(tmp_path: Path) -> None:
    file = tmp_path / "all.csv"
    write_rows(RESULTS, file, with_probabilities=False)
    file.write_text(header(False) + file.read_text())
    assert count_results(file) == (2, 1)


def test_progress_is_what_is_in_the_parts(tmp_path: Path) -> None:
    seen: list[int] = []
    reported = {2: Event(), 5: Event()}

    def on_progress(num_rows: int) -> None:
        seen.append(num_rows)
        reported.get(num_rows, Event()).set()

    with watched(tmp_path, on_progress):
        (tmp_path / "other.csv").write_text("one\n")
        (tmp_path / "part-0.csv").write_text("one\ntwo\n")
        assert reported[2].wait(10)
        with (tmp_path / "part-0.csv").open("a") as part:
            part.write("three\n")
        (tmp_path / "part-1.csv").write_text("four\nfive\n")
        assert reported[5].wait(10)
    assert seen == sorted(seen)
