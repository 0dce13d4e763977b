import logging

import pytest

from components.progress import NUM_RECORDS_FIELD, PROGRESS_FIELD, log_num_records, log_progress


def test_progress_and_records_are_fields_of_log_records(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("components.step")
    caplog.set_level(logging.DEBUG, logger="components.step")
    log_progress(logger, logging.DEBUG, "50 % done", 0.5)
    log_num_records(logger, 70_000)
    progress, records = caplog.records
    assert (progress.levelname, progress.getMessage()) == ("DEBUG", "50 % done")
    assert (records.levelname, records.getMessage()) == ("INFO", "processed 70000 records")
    assert getattr(progress, PROGRESS_FIELD) == 0.5
    assert getattr(records, NUM_RECORDS_FIELD) == 70_000
