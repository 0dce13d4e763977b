"""Reports the progress of a step as log records with extra fields, which `digits run` turns into its display."""

import logging

PROGRESS_FIELD = "progress"
"""Field of a log record: the share of the step that is done, 0 to 1."""
NUM_RECORDS_FIELD = "num_records"
"""Field of a log record: the number of records that the step has processed since its last such record."""


def log_progress(logger: logging.Logger, level: int, text: str, progress: float) -> None:
    """Logs the progress of the running step.

    Args:
        logger: Logger of the step.
        level: DEBUG if only a terminal shows it, until the next one.
        text: What the step does.
        progress: Share of the step that is done, 0 to 1.
    """
    logger.log(level, "%s", text, extra={PROGRESS_FIELD: progress})


def log_num_records(logger: logging.Logger, count: int) -> None:
    """Logs the number of records that the running step has processed."""
    logger.info("processed %d records", count, extra={NUM_RECORDS_FIELD: count})
