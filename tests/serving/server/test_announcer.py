from serving.server.announcer import Announcer
from serving.server.messages import VersionState, VersionStatus


def test_changes_that_mean_something_to_people_are_said() -> None:
    said: list[str] = []
    announcer = Announcer(said.append)
    for state in VersionState:
        announcer.version_changed("digits", VersionStatus(3, state))
    announcer.version_changed("digits", VersionStatus(4, VersionState.END, "NOT_FOUND", "no variables"))
    assert said == [
        "digits: version 3 is being loaded",
        "digits: version 3 answers",
        "digits: version 3 is gone",
        "digits: version 4 failed: no variables",
    ]


def test_it_counts_as_well() -> None:
    announcer = Announcer(lambda line: None)
    announcer.version_changed("digits", VersionStatus(3, VersionState.AVAILABLE))
    assert b'version="3"} 1.0' in announcer.page()
