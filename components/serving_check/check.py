"""The whole check of an export: what it says of itself, how it fares in a fresh process, and what that means."""

import logging
from pathlib import Path

import numpy as np

from components.serving_check.answer_judgement import judge_answers
from components.serving_check.exchange import Kind, Plan, Report
from components.serving_check.export import ExportError, read_export
from components.serving_check.judgement import EXPORT, judge_contract, judge_process, kept
from components.serving_check.limits import ServingLimits
from components.serving_check.probe_process import run_probe
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
    # Of a process that did not end well not all answers are there.
    if report.failure:
        return findings
    _log(report)
    return findings + judge_answers(report, len(images), limits)


def _log(report: Report) -> None:
    timed = [answer.milliseconds for answer in report.answers if answer.kind == Kind.LATENCY and answer.milliseconds]
    if timed:
        median = float(np.median(np.concatenate(timed)))
        logger.info("session-based loader: %d signatures, median %.1f ms", len(timed), median)
