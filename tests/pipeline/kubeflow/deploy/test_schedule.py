import pytest

from pipeline.kubeflow.deploy.errors import WrongDeploymentError
from pipeline.kubeflow.deploy.schedule import describe_cron, kubeflow_cron


@pytest.mark.parametrize(
    ("schedule", "cron"),
    [
        ("0 2 * * *", "0 0 2 * * *"),
        ("*/15 8-17 1,15 JAN-mar mon-FRI", "0 */15 8-17 1,15 JAN-mar mon-FRI"),
        ("30 0 2 * * ?", "30 0 2 * * ?"),
        (" @weekly ", "0 0 0 * * 0"),
        ("5/10 * * * 0,6", "0 5/10 * * * 0,6"),
        ("0 2 29 2 *", "0 0 2 29 2 *"),
        ("0 2 31 4/2 *", "0 0 2 31 4/2 *"),
        ("0 2 25-31/3 FEB,APR *", "0 0 2 25-31/3 FEB,APR *"),
        ("0 2 30 2 MON", "0 0 2 30 2 MON"),
    ],
)
def test_crontab_becomes_six_fields(schedule: str, cron: str) -> None:
    assert kubeflow_cron(schedule) == cron


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ("0 2 * *", "'0 2 \\* \\*': expected minute, hour, day of the month, month and day of the week, such as"),
        ("0 0 2 * * * 2026", "expected minute, hour"),
        ("", "expected minute, hour"),
        ("@reboot", "or one of @hourly, @daily"),
        ("60 * * * *", "minute: '60' is not 0 to 59"),
        ("60 0 2 * * *", "second: '60' is not 0 to 59"),
        ("0 24 * * *", "hour: '24' is not 0 to 23"),
        ("0 2 0 * *", "day of the month: '0' is not 1 to 31"),
        ("0 2 * 13 *", "month: '13' is not 1 to 12 or JAN to DEC"),
        ("0 2 * * 7", "day of the week: '7' is not 0 to 6 or SUN to SAT, where Sunday is 0"),
        ("0 2 * * L", "day of the week: 'L' is not"),
        ("5-1 * * * *", "minute: '5-1' is no range from low to high"),
        ("*-5 * * * *", "minute: '\\*-5' is no range from low to high"),
        ("0 2 30 2 *", "day of the month: no such month has this day"),
        ("0 2 31 2,4,JUN *", "day of the month: no such month has this day"),
        ("0 2 30/1 2 ?", "day of the month: no such month has this day"),
        ("*/0 * * * *", "minute: the step of '\\*/0' is no number above 0"),
        ("1,,2 * * * *", "minute: '' is no value, range"),
        ("-5 * * * *", "minute: '-5' is no value, range"),
        ("1/2/3 * * * *", "minute: '1/2/3' is no value, range"),
    ],
)
def test_what_is_no_schedule_is_refused(schedule: str, message: str) -> None:
    with pytest.raises(WrongDeploymentError, match=message):
        kubeflow_cron(schedule)


def test_for_people() -> None:
    assert describe_cron("0 30 2 * * MON-FRI") == "at second 0, minute 30, hour 2, day of the week MON-FRI"
    assert describe_cron("* * * * * ?") == "every second"
