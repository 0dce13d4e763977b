"""Runs the MNIST example that TFX installs, with the few changes that benchmarks/README.md lists."""

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

import click

if TYPE_CHECKING:
    from tfx.orchestration.pipeline import Pipeline

    from benchmarks.mnist import Split

_PIPELINE_NAME = "mnist_native_keras"
_USER_CODE = "tfx.examples.mnist.mnist_utils_native_keras"
# MNIST's own splits and their names in the example.
_SPLITS: tuple[tuple["Split", str], ...] = (("train", "train"), ("test", "eval"))


def metadata_file(folder: Path) -> Path:
    """Returns the ML Metadata database of an example that ran in `folder`."""
    return folder / "metadata.sqlite"


def serving_directory(folder: Path) -> Path:
    """Returns the folder with the pushed versions of an example that ran in `folder`."""
    return folder / "serving"


@click.group()
def main() -> None:
    """Prepare and run TFX's MNIST example."""


@main.command("write-data")
@click.argument("data", type=click.Path(path_type=Path))
def write_data(data: Path) -> None:
    """Write MNIST to the folder DATA, as the TFRecords that the example reads."""
    import tensorflow as tf

    from benchmarks.mnist import load_mnist, tfx_example

    for split, name in _SPLITS:
        directory = data / name
        directory.mkdir(parents=True)
        with tf.io.TFRecordWriter(str(directory / "mnist.tfrecord")) as writer:
            for image, label in zip(*load_mnist(split), strict=True):
                writer.write(tfx_example(image, int(label)))


@main.command()
@click.argument("data", type=click.Path(path_type=Path, exists=True))
@click.argument("folder", type=click.Path(path_type=Path))
def run(data: Path, folder: Path) -> None:
    """Run the example on the output of `write-data` in DATA; all output goes to FOLDER."""
    from tfx.orchestration.local.local_dag_runner import LocalDagRunner

    folder.mkdir(parents=True)
    LocalDagRunner().run(_create_pipeline(data, folder))


def _create_pipeline(data: Path, folder: Path) -> "Pipeline":
    # The example needs it at import, for paths that the arguments below replace.
    os.environ.setdefault("HOME", str(folder))
    from tfx.examples.mnist import mnist_pipeline_native_keras as example
    from tfx.proto import example_gen_pb2

    from pipeline.beam.options import direct_runner_args

    splits = [example_gen_pb2.Input.Split(name=name, pattern=f"{name}/*") for _, name in _SPLITS]
    with mock.patch.multiple(
        example,
        ImportExampleGen=partial(example.ImportExampleGen, input_config=example_gen_pb2.Input(splits=splits)),
        Transform=partial(example.Transform, preprocessing_fn=f"{_USER_CODE}.preprocessing_fn"),
        Trainer=partial(example.Trainer, run_fn=f"{_USER_CODE}.run_fn"),
    ):
        return example._create_pipeline(
            pipeline_name=_PIPELINE_NAME,
            pipeline_root=str(folder / "pipeline_root"),
            data_root=str(data),
            module_file=None,
            serving_model_dir=str(serving_directory(folder)),
            metadata_path=str(metadata_file(folder)),
            beam_pipeline_args=direct_runner_args(),
        )


if __name__ == "__main__":
    main()
