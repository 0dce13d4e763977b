import json
from pathlib import Path

import numpy as np

from components.serving_check.exchange import (
    Answer,
    Kind,
    Plan,
    Report,
    Request,
    encode_answer,
    read_plan,
    read_report,
    write_plan,
)


def test_a_plan_comes_back_as_it_was(tmp_path: Path) -> None:
    requests = (
        Request("pixels", Kind.GOOD, "image", np.arange(6, dtype=np.float32).reshape(1, 2, 3)),
        Request("examples", Kind.EMPTY, "examples", np.array([], object)),
        Request("examples", Kind.MALFORMED, "examples", np.array([b"zero\0"], object), "zero at its end", times=3),
    )
    write_plan(Plan("/models/1", ("Abs", "Mul"), requests), tmp_path / "plan")
    plan = read_plan(tmp_path / "plan")
    assert (plan.model_path, plan.ops) == ("/models/1", ("Abs", "Mul"))
    for read, written in zip(plan.requests, requests, strict=True):
        assert (read.signature, read.kind, read.input_name) == (written.signature, written.kind, written.input_name)
        assert (read.name, read.times, read.values.dtype) == (written.name, written.times, written.values.dtype)
        np.testing.assert_array_equal(read.values, written.values)


def test_a_report_holds_all_events(tmp_path: Path) -> None:
    answer = Answer("pixels", Kind.GOOD, "", {"digit": np.array([7])}, milliseconds=(1.5, 2.0))
    error = Answer("pixels", Kind.MALFORMED, "27 rows", error="InvalidArgumentError", message="wrong shape")
    events = [
        {"foreign_ops": []},
        {"doing": "loading"},
        {"load_error": ""},
        {"answer": encode_answer(answer)},
        {"doing": "malformed request 27 rows", "doing_on": "pixels"},
        {"answer": encode_answer(error)},
        {"python_load_error": ""},
        {"python_answer": encode_answer(error)},
        {"ended": True},
    ]
    (tmp_path / "report").write_text("".join(json.dumps(event) + "\n" for event in events))
    report = read_report(tmp_path / "report")
    assert (report.foreign_ops, report.load_error, report.ended) == ((), "", True)
    assert (report.doing, report.doing_on) == ("malformed request 27 rows", "pixels")
    assert report.answers[0].milliseconds == (1.5, 2.0)
    assert report.answers[0].outputs["digit"].tolist() == [7]
    assert report.answers[1] == error
    assert (report.python_load_error, report.python_answers) == ("", (error,))


def test_a_report_cut_short_holds_what_was_whole(tmp_path: Path) -> None:
    (tmp_path / "report").write_text('{"foreign_ops": []}\n{"doing": "loading"}\n{"load_err')
    assert read_report(tmp_path / "report") == Report(foreign_ops=(), doing="loading")


def test_without_a_report_nothing_was_begun(tmp_path: Path) -> None:
    assert read_report(tmp_path / "report") == Report()
    assert Report().doing == "starting"
