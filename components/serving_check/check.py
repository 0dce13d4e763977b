"""The whole check of an export: what it says of itself, how it fares in a fresh process, and what that means."""

import logging
from itertools import groupby
from pathlib import Path

import numpy as np

from components.serving_check.answer_judgement import judge_answers
from components.serving_check.contract import DIGIT, EXAMPLES
from components.serving_check.exchange import Kind, Plan, Report
from components.serving_check.export import ExportError, read_export
from components.serving_check.judgement import EXPORT, judge_contract, judge_process, kept
from components.serving_check.limits import ServingLimits
from components.serving_check.probe_process import run_probe
from components.serving_check.python_answers import python_answers
from components.serving_check.requests import build_requests
from components.verdict import Finding

logger = logging.getLogger(__name__)


def check_export(model_path: str, images: np.ndarray, limits: ServingLimits, log_file: Path) -> list[Finding]:
    """Checks that TF Serving could load an export and that it answers sense.

    Args:
        model_path: Folder of the SavedModel.
        images: uint8[n,28,28], the test images of the good request, 0 background to 255 ink.
        limits: What is asked, and what the answers must keep.
        log_file: Where the output of the fresh process is kept.

    Returns:
        A finding per check and signature. What a refused check makes pointless is left out, so that each flaw is
        named once.
    """
    try:
        export = read_export(model_path)
    except ExportError as error:
        return [Finding("SavedModel", EXPORT, passed=False, reason=str(error))]
    contract = judge_contract(export)
    requests = build_requests(images, kept(contract), limits)
    plan = Plan(model_path, tuple(sorted(export.ops)), requests)
    report = run_probe(plan, limits.timeout_s, log_file)
    findings = contract + judge_process(report, len(plan.ops))
    # What ends or blocks one process would do the same to this one.
    if report.failure or not report.answers:
        return findings
    _log(report)
    return findings + _judge_all(plan, report, limits)


def _judge_all(plan: Plan, report: Report, limits: ServingLimits) -> list[Finding]:
    try:
        expected = python_answers(plan.model_path, plan.requests)
    # Whatever the loader raises is what there is to say about the export.
    except Exception as error:
        reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        return [Finding("Python loader", EXPORT, passed=False, reason=reason)]
    findings = []
    for signature, answers in groupby(report.answers, key=lambda answer: answer.signature):
        # Without an answer of the gated signature, which is a finding of its own, there is nothing to compare with.
        gated_digits = expected.get(EXAMPLES, expected[signature])[DIGIT]
        findings += judge_answers(signature, list(answers), expected[signature], gated_digits, limits)
    return findings


def _log(report: Report) -> None:
    timed = [answer.milliseconds for answer in report.answers if answer.kind == Kind.LATENCY and answer.milliseconds]
    if timed:
        median = float(np.median(np.concatenate(timed)))
        logger.info("session-based loader: %d signatures, median %.1f ms", len(timed), median)
