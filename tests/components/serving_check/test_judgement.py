from dataclasses import replace

from components.serving_check.contract import SIGNATURES
from components.serving_check.exchange import Report
from components.serving_check.export import Export
from components.serving_check.judgement import judge_contract, judge_process, kept
from components.verdict import Finding

WHOLE = Report(foreign_ops=(), load_error="", python_load_error="", ended=True)


def refused(findings: list[Finding]) -> list[tuple[str, str, str]]:
    return [(finding.metric, finding.slice, finding.reason) for finding in findings if not finding.passed]


def test_a_signature_that_breaks_the_contract_is_named() -> None:
    findings = judge_contract(Export(frozenset(), {"pixels": SIGNATURES["pixels"], "examples": SIGNATURES["pixels"]}))
    assert refused(findings) == [
        ("signature", "serving_default", "there is no such signature"),
        (
            "signature",
            "examples",
            "it lacks the input 'examples', string[n]; it also asks for the input 'image'",
        ),
        ("signature", "normalize", "there is no such signature"),
    ]
    assert kept(findings) == ("pixels",)


def test_a_process_that_did_all_passes() -> None:
    findings = judge_process(WHOLE, num_ops=64)
    assert [(finding.metric, finding.value, finding.bound, finding.passed) for finding in findings] == [
        ("core ops", "64 of 64", "all", True),
        ("session-based loader", "loaded", "loaded", True),
        ("Python loader", "loaded", "loaded", True),
    ]


def test_foreign_ops_are_named() -> None:
    findings = judge_process(Report(foreign_ops=("DecodeDigits", "PyFunc"), ended=True), num_ops=64)
    assert refused(findings) == [("core ops", "export", "TF Serving does not have DecodeDigits, PyFunc")]
    assert findings[0].value == "62 of 64"


def test_what_a_loader_says_is_the_reason() -> None:
    findings = judge_process(
        replace(WHOLE, load_error="NotFoundError: no variables", python_load_error=None), num_ops=1
    )
    assert refused(findings) == [("session-based loader", "export", "NotFoundError: no variables")]
    findings = judge_process(replace(WHOLE, python_load_error="ValueError: no object graph"), num_ops=1)
    assert refused(findings) == [("Python loader", "export", "ValueError: no object graph")]


def test_what_a_process_did_when_it_ended_is_said() -> None:
    report = replace(WHOLE, doing="huge batch", doing_on="pixels", failure="it was ended by SIGKILL")
    assert refused(judge_process(report, num_ops=1)) == [
        ("fresh process", "pixels", "it was ended by SIGKILL; its last work was: huge batch")
    ]
    assert refused(judge_process(Report(failure="it had not ended after 1 s"), num_ops=1)) == [
        ("fresh process", "export", "it had not ended after 1 s; its last work was: starting")
    ]
