from components.run_report.changed_settings import changed_settings
from components.run_report.report import ChangedSetting


def test_settings_that_differ_from_their_defaults_are_listed() -> None:
    defaults = {"name": "digits", "trainer": {"epochs": 7, "seed": 0}, "beam": {"engine": "direct"}}
    values = {"name": "digits", "data": {"sample_fraction": 0.5}, "trainer": {"epochs": 3, "seed": 0}}
    assert changed_settings(defaults, defaults) == ()
    assert changed_settings(values, defaults) == (
        ChangedSetting(name="data.sample_fraction", value=0.5, default=None),
        ChangedSetting(name="trainer.epochs", value=3, default=7),
    )
