from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks import scale
from benchmarks.data_steps import STEPS, TOGETHER, StepCosts
from benchmarks.mnist import NUM_MNIST, load_mnist
from benchmarks.scale import draw, main, missed_targets, table_rows, write_variations
from tests.support.image_data import read_all

FEW, MANY = 7_000, 14_000


def costs(seconds: float = 1.0, peak_bytes: float = 2**30) -> dict[str, StepCosts]:
    names = (*STEPS, TOGETHER)
    return {name: StepCosts(seconds, cpu_seconds=1.0, peak_bytes=peak_bytes, written_bytes=1.0) for name in names}


def test_the_pipeline_reads_more_variations_than_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = ({split: load_mnist(split)[part][:10] for split in ("train", "test")} for part in (0, 1))
    monkeypatch.setattr(scale, "load_mnist", lambda split: (images[split], labels[split]))
    monkeypatch.setattr(scale, "vary_affinely", lambda images, _: 255 - images)
    monkeypatch.setattr(scale, "_CHUNK", 7)
    write_variations(tmp_path / "source", int(2.5 * NUM_MNIST))
    records = read_all(tmp_path / "source")
    for split in ("train", "test"):
        found = [(int(record.label), record.pixels) for record in records if record.origin == split]
        varied = [(label, (255 - image).tobytes()) for image, label in zip(images[split], labels[split], strict=True)]
        assert found == [*varied, *varied, *varied[:5]]


def test_variations_keep_the_proportion_of_mnist(tmp_path: Path) -> None:
    write_variations(tmp_path / "source", 700)
    sizes = {file.name: file.stat().st_size for file in (tmp_path / "source").iterdir()}
    assert sizes == {
        "train-images-idx3-ubyte": 16 + 600 * 784,
        "train-labels-idx1-ubyte": 8 + 600,
        "t10k-images-idx3-ubyte": 16 + 100 * 784,
        "t10k-labels-idx1-ubyte": 8 + 100,
    }


def test_table_compares_the_largest_size_with_the_smallest() -> None:
    rows = {name: values for name, *values in table_rows({FEW: costs(0.7), MANY: costs(2.8, 2**31)})}
    assert rows["Transform: time per record (µs)"] == ["100.0", "200.0", "2.00"]
    assert rows["together: peak memory (GiB)"] == ["1.00", "2.00", "2.00"]
    assert len(rows) == 8


@pytest.mark.parametrize(
    ("many", "failures"),
    [
        (costs(2.3, 3 * 2**30), []),
        (
            {**costs(2.0), "Transform": StepCosts(2.32, 1, 1, 1)},
            ["Transform takes 1.16 times as long per record for 14,000 records as for 7,000, expected at most 1.15."],
        ),
        (costs(2.0, 3.1 * 2**30), ["14,000 records took 3.10 GiB of memory, expected at most 3.00."]),
    ],
)
def test_targets(many: dict[str, StepCosts], failures: list[str]) -> None:
    assert list(missed_targets({FEW: costs(), MANY: many})) == failures


def test_plot(tmp_path: Path) -> None:
    draw({FEW: costs(), MANY: costs()}, tmp_path / "plot.svg")
    text = (tmp_path / "plot.svg").read_text(encoding="utf-8")
    assert text.count("wall time per record") == 1


@pytest.mark.parametrize("sizes", ["7000", "7000,600", "7000,many", "7000,7000", ""])
def test_sizes_must_be_numbers(sizes: str) -> None:
    outcome = CliRunner().invoke(main, ["--sizes", sizes])
    assert outcome.exit_code == 2
    assert "expected two or more numbers from 700, such as 7000,14000" in outcome.output
