import json
from dataclasses import replace
from pathlib import Path

import pytest

from components.verdict import DamagedVerdictError, Finding, Verdict, read_verdict, write_verdict

PASSED = Finding(
    "accuracy", "all", passed=True, value=0.9956, interval=(0.994, 0.997), lower_bound=0.99, baseline=0.9951
)
REFUSED = Finding("recall", "class 7", passed=False, reason="it may be as low as 0.9512", value=0.97, lower_bound=0.98)
SHAPE = Finding("schema", "train", passed=False, reason="27 columns", expected="28x28", feature="image")


def make_verdict(*findings: Finding) -> Verdict:
    return Verdict("Evaluator", findings, advice="Train longer.")


@pytest.mark.parametrize(
    ("findings", "passed"), [((PASSED,), True), ((PASSED, REFUSED), False), ((REFUSED,), False), ((), False)]
)
def test_a_verdict_passes_if_it_has_findings_and_all_pass(findings: tuple[Finding, ...], passed: bool) -> None:
    verdict = make_verdict(*findings)
    assert verdict.passed is passed
    assert verdict.refusals == tuple(finding for finding in findings if finding is REFUSED)


def test_slices_that_fail_for_one_reason_are_one_refusal_with_the_lowest_value() -> None:
    small = [
        replace(REFUSED, slice=f"class {number}", value=0.9 - number / 10, reason="too few") for number in range(5)
    ]
    [refusal, other] = make_verdict(*small, REFUSED, replace(PASSED, reason="too few")).refusals
    assert (refusal.slice, refusal.value) == ("class 4 and 4 more", 0.5)
    assert other == REFUSED
    assert make_verdict(*small[:2]).refusals[0].slice == "class 0, class 1"


def test_features_that_fail_for_one_reason_are_one_refusal_with_the_worst_value() -> None:
    drift = Finding("drift", "train", False, "it differs", value=0.3, upper_bound=0.07)
    by_value = {"ink_top": 0.3, "height": 0.9, "width": 0.5, "brightness": 0.4}
    drifts = [replace(drift, feature=feature, value=value) for feature, value in by_value.items()]
    [refusal, other] = make_verdict(*drifts, replace(drift, feature="label", upper_bound=0.05)).refusals
    assert (refusal.feature, refusal.slice, refusal.value) == ("height and 3 more", "train", 0.9)
    assert other.feature == "label"
    [refusal] = make_verdict(drifts[0], drifts[1], replace(drifts[0], slice="eval")).refusals
    assert (refusal.feature, refusal.slice, refusal.value) == ("ink_top, height", "train, eval", 0.9)


def test_a_gate_that_is_switched_off_passes_and_says_so(tmp_path: Path) -> None:
    verdict = replace(make_verdict(REFUSED), enforced=False)
    assert verdict.passed
    write_verdict(verdict, tmp_path)
    assert read_verdict(tmp_path) == verdict
    assert (tmp_path / "verdict.txt").read_text().startswith("Evaluator: switched off\n")


def test_what_a_person_has_accepted_is_no_refusal_and_stays_visible(tmp_path: Path) -> None:
    accepted = [replace(REFUSED, slice=name, passed=True, accepted=True) for name in ("class 1", "class 7")]
    verdict = make_verdict(PASSED, *accepted)
    assert (verdict.passed, verdict.refusals) == (True, ())
    assert verdict.accepted == ("class 1, class 7: it may be as low as 0.9512",)
    write_verdict(verdict, tmp_path)
    assert read_verdict(tmp_path) == verdict
    assert (tmp_path / "verdict.txt").read_text().count("   accepted   it may be") == 2


def test_a_verdict_is_written_as_json(tmp_path: Path) -> None:
    verdict = make_verdict(PASSED, REFUSED, SHAPE)
    write_verdict(verdict, tmp_path)
    assert read_verdict(tmp_path) == verdict
    content = json.loads((tmp_path / "verdict.json").read_text())
    assert (content["gate"], content["passed"]) == ("Evaluator", False)
    assert content["findings"][0]["interval"] == [0.994, 0.997]
    assert (content["findings"][1]["value"], content["findings"][1]["lower_bound"]) == (0.97, 0.98)


def test_a_verdict_is_written_as_a_table(tmp_path: Path) -> None:
    write_verdict(make_verdict(PASSED, REFUSED), tmp_path)
    assert (tmp_path / "verdict.txt").read_text().splitlines() == [
        "Evaluator: REFUSED",
        "",
        "metric     slice     value    95 % interval      bound      baseline   decision   reason",
        "─" * 108,
        "accuracy   all       0.9956   0.9940 to 0.9970   ≥ 0.9900   0.9951     pass",
        "recall     class 7   0.9700                      ≥ 0.9800              REFUSE     it may be as low as 0.9512",
    ]


def test_a_gate_can_set_the_columns_and_their_headings(tmp_path: Path) -> None:
    headings = {"feature": "feature", "slice": "split", "metric": "rule", "bound": "allowed", "reason": "observed"}
    write_verdict(replace(make_verdict(SHAPE), headings=headings), tmp_path)
    assert read_verdict(tmp_path).headings == headings
    lines = (tmp_path / "verdict.txt").read_text().splitlines()
    assert [line.split() for line in (lines[2], lines[4])] == [
        ["feature", "split", "rule", "allowed", "observed"],
        ["image", "train", "schema", "28x28", "27", "columns"],
    ]


def test_a_range_is_shown_with_both_ends() -> None:
    assert Finding("share", "all", passed=True, lower_bound=0.25, upper_bound=1.0).bound == "≥ 0.2500 and ≤ 1"


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.12345, "0.1235"), (1.0, "1"), (0.0, "0"), (3e-7, "3.0e-07"), (-2e-5, "-2.0e-05"), ("28x28", "28x28")],
)
def test_numbers_are_shown_with_significant_digits(value: float | str, shown: str) -> None:
    assert Finding("accuracy", "all", passed=True, value=value).cells()["value"] == shown


@pytest.mark.parametrize("content", [None, b"", b'{"gate": "Eval', b"[]", b"{}", b'{"findings": [{"no": 1}]}', b"\xff"])
def test_a_missing_or_damaged_verdict_is_named(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "verdict.json").write_bytes(content)
    with pytest.raises(
        DamagedVerdictError,
        match=r"verdict\.json: missing, or not a verdict .* run again, with enable_cache=false if its gate",
    ):
        read_verdict(tmp_path)


def test_nan_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_verdict(make_verdict(Finding("accuracy", "all", passed=False, value=float("nan"))), tmp_path)
    assert not list(tmp_path.iterdir())
