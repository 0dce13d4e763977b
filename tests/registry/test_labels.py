"""The content of `models.config`, and that no request fails under TF Serving's rules while labels move."""

import os
from pathlib import Path

import pytest
from filelock import FileLock
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from registry import labels as version_labels
from registry.labels import (
    MODELS_CONFIG_FILE,
    READ_BY_ALL_SECONDS,
    LabelError,
    ModelLabels,
    label_steps,
    read_labels,
    read_models_config,
    set_label,
)


class TfServing:
    """How TF Serving handles a configuration file, as deploy/ starts it.

    Source: ReloadConfig and UpdateModelVersionLabelMap of tensorflow_serving/model_servers/server_core.cc, 2.20.0, with
    --allow_version_labels_for_unavailable_models: labels are checked first; a known label moves only to a loaded
    version; a refused configuration changes nothing. Versions load between two polls of the file.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self.is_loading = False
        self.aspired: tuple[int, ...] = ()
        self.loaded: tuple[int, ...] = ()
        self.labels: dict[str, int] = {}

    def poll(self) -> bool:
        """Reads the file; returns whether its configuration was accepted."""
        if not self.is_loading:
            self.loaded = self.aspired
        wanted = read_labels(self._file.parent, "digits")
        for label, version in wanted.labels.items():
            if self.labels.get(label, version) != version and version not in self.loaded:
                return False
        self.labels, self.aspired = dict(wanted.labels), wanted.loaded
        return True


@pytest.fixture
def clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Clock":
    clock = Clock(tmp_path / MODELS_CONFIG_FILE)
    write = version_labels._write

    def write_now(file: Path, config: ModelServerConfig) -> None:
        write(file, config)
        os.utime(file, (clock.now, clock.now))

    monkeypatch.setattr(version_labels, "_write", write_now)
    monkeypatch.setattr(version_labels.time, "time", lambda: clock.now)
    monkeypatch.setattr(version_labels.time, "sleep", clock.sleep)
    return clock


class Clock:
    """Time that passes only in `sleep`, during which a server polls the file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.now = 1_800_000_000.0
        self.server = TfServing(file)

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.server.poll()

    def set(self, label: str, version: int | None) -> ModelLabels:
        """Sets a label of `digits`."""
        return set_label(self._file.parent, "digits", label, version, lambda seconds: None)


def test_labels_move_without_a_failed_request(clock: Clock) -> None:
    """Every label refers to a loaded version at all times, even at the slowest promised polling."""
    changes = [("stable", 1), ("canary", 2), ("stable", 2), ("canary", 3), ("stable", 3), ("stable", 2), ("canary", 4)]
    for label, version in changes:
        used_before = clock.server.labels
        clock.set(label, version)
        # Pending requests under the old labels succeed during the change.
        assert clock.server.poll()
        assert set(used_before.values()) <= set(clock.server.aspired)
        clock.server.poll()
        assert clock.server.labels[label] == version
        assert set(clock.server.labels.values()) <= set(clock.server.loaded)


def test_a_server_that_is_still_loading_accepts_the_label_later(clock: Clock) -> None:
    clock.set("stable", 1)
    clock.server.poll()
    clock.server.poll()
    clock.server.is_loading = True
    clock.set("stable", 2)
    assert [clock.server.poll() for _ in range(3)] == [False] * 3
    assert (clock.server.labels, clock.server.loaded) == ({"stable": 1}, (1,))
    clock.server.is_loading = False
    assert clock.server.poll()
    assert (clock.server.labels, clock.server.loaded) == ({"stable": 2}, (1, 2))


def test_a_label_that_moves_in_one_step_to_an_unloaded_version_is_always_refused(clock: Clock, tmp_path: Path) -> None:
    """The reason for the two steps."""
    clock.set("stable", 1)
    clock.server.poll()
    file = tmp_path / MODELS_CONFIG_FILE
    file.write_text(file.read_text().replace("versions: 1", "versions: 2").replace("value: 1", "value: 2"))
    assert read_labels(tmp_path, "digits") == ModelLabels({"stable": 2}, (2,))
    assert [clock.server.poll() for _ in range(5)] == [False] * 5


def test_a_new_label_or_a_loaded_version_needs_one_step() -> None:
    current = ModelLabels({"stable": 1, "canary": 2}, (1, 2))
    assert label_steps(ModelLabels(), "stable", 1) == (ModelLabels({"stable": 1}, (1,)),)
    assert label_steps(current, "stable", 2) == (ModelLabels({"stable": 2, "canary": 2}, (1, 2)),)
    assert label_steps(current, "shadow", 3) == (ModelLabels({"stable": 1, "canary": 2, "shadow": 3}, (1, 2, 3)),)


def test_labeled_versions_stay_loaded_under_another_policy() -> None:
    first, last = label_steps(ModelLabels({"stable": 1}, ()), "stable", 2)
    assert first == ModelLabels({"stable": 1}, (1, 2))
    assert last == ModelLabels({"stable": 2}, (1, 2))


def test_the_previous_version_stays_loaded_until_the_next_change() -> None:
    promoted = label_steps(ModelLabels({"stable": 1}, (1, 2)), "stable", 2)[-1]
    assert promoted.loaded == (1, 2)
    assert label_steps(promoted, "stable", 1) == (ModelLabels({"stable": 1}, (1, 2)),)
    assert label_steps(promoted, "stable", 2) == (ModelLabels({"stable": 2}, (2,)),)


def test_without_labels_no_versions_are_selected() -> None:
    assert label_steps(ModelLabels({"stable": 1}, (1, 2)), "stable", None) == (ModelLabels(),)


def test_a_move_waits_until_the_previous_change_has_been_read(clock: Clock, tmp_path: Path) -> None:
    waits: list[float] = []
    set_label(tmp_path, "digits", "stable", 1, waits.append)
    set_label(tmp_path, "digits", "canary", 2, waits.append)
    assert waits == []
    clock.now += 4
    # The canary was added 4 s ago; a server may not know it yet.
    set_label(tmp_path, "digits", "stable", 2, waits.append)
    assert waits == [pytest.approx(READ_BY_ALL_SECONDS - 4, abs=0.01)]
    clock.now += 60
    set_label(tmp_path, "digits", "stable", 1, waits.append)
    assert len(waits) == 1


def test_the_content_and_the_permissions_of_the_file(tmp_path: Path) -> None:
    set_label(tmp_path, "digits", "stable", 7, lambda seconds: None)
    assert (tmp_path / MODELS_CONFIG_FILE).read_text() == (
        version_labels._HEADER + "model_config_list {\n  config {\n"
        '    name: "digits"\n    base_path: "/models/digits"\n    model_platform: "tensorflow"\n'
        "    model_version_policy {\n      specific {\n        versions: 7\n      }\n    }\n"
        '    version_labels {\n      key: "stable"\n      value: 7\n    }\n  }\n}\n'
    )
    assert (tmp_path / MODELS_CONFIG_FILE).stat().st_mode & 0o444 == 0o444
    assert sorted(path.name for path in tmp_path.iterdir()) == [".models.config.lock", MODELS_CONFIG_FILE]


def test_other_configuration_is_kept(tmp_path: Path) -> None:
    (tmp_path / MODELS_CONFIG_FILE).write_text(
        'model_config_list { config { name: "other" base_path: "/elsewhere" } '
        'config { name: "digits" base_path: "/mnt/digits" logging_config { sampling_config { sampling_rate: 0.5 } } } }'
    )
    set_label(tmp_path, "digits", "stable", 7, lambda seconds: None)
    other, digits = read_models_config(tmp_path / MODELS_CONFIG_FILE).model_config_list.config
    assert (other.base_path, digits.base_path) == ("/elsewhere", "/mnt/digits")
    assert digits.logging_config.sampling_config.sampling_rate == 0.5
    assert read_labels(tmp_path, "digits").labels == {"stable": 7}
    assert read_labels(tmp_path, "other") == ModelLabels()


def test_other_pushed_models_get_an_entry(tmp_path: Path) -> None:
    for model in ("digits/7", "digits-smoke/8", "digits-smoke/9", "empty"):
        (tmp_path / model).mkdir(parents=True)
        (tmp_path / model / "saved_model.pb").touch()
    set_label(tmp_path, "digits", "stable", 7, lambda seconds: None)
    digits, smoke = read_models_config(tmp_path / MODELS_CONFIG_FILE).model_config_list.config
    assert (digits.name, smoke.name, smoke.base_path) == ("digits", "digits-smoke", "/models/digits-smoke")
    assert not smoke.HasField("model_version_policy")
    assert digits.version_labels == {"stable": 7}


@pytest.mark.parametrize("label", ["", "a b", "a/b", "a:b"])
def test_a_label_must_be_valid_in_a_url(label: str) -> None:
    with pytest.raises(LabelError, match="a label is part of a URL; expected text without spaces, '/' and ':'"):
        label_steps(ModelLabels(), label, 1)


def test_a_label_to_remove_must_exist() -> None:
    with pytest.raises(LabelError, match="canary: there is no such label; the labels are: shadow, stable"):
        label_steps(ModelLabels({"stable": 1, "shadow": 2}, (1, 2)), "canary", None)


def test_an_invalid_file_is_not_changed(tmp_path: Path) -> None:
    file = tmp_path / MODELS_CONFIG_FILE
    file.write_text("model_config_list {\n  config { nam: 3 }\n}")
    with pytest.raises(LabelError, match=rf"{file}: not a ModelServerConfig .* 2:12 : .*no field named \"nam\".*Fix"):
        set_label(tmp_path, "digits", "stable", 7, lambda seconds: None)
    assert file.read_text() == "model_config_list {\n  config { nam: 3 }\n}"


def test_one_writer_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(version_labels, "_LOCK_TIMEOUT_SECONDS", 0.01)
    with (
        FileLock(tmp_path / ".models.config.lock"),
        pytest.raises(LabelError, match="another `digits label` is changing it; wait for it, and try again"),
    ):
        set_label(tmp_path, "digits", "stable", 7, lambda seconds: None)
    assert not (tmp_path / MODELS_CONFIG_FILE).exists()
