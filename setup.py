"""The installable package: the pipeline, its steps, the model registry, serving, and the command `digits`.

Dependency overrides and tool settings are in pyproject.toml; exact versions are in uv.lock.
"""

from setuptools import find_packages, setup

setup(
    version="0.1.0",
    description="A production training pipeline for image classifiers on TFX: MNIST in, a gated SavedModel out.",
    license="MIT",
    packages=find_packages(include=["pipeline*", "components*", "registry*", "serving*"]),
    package_data={
        "components.run_report": ["*.css", "*.jinja"],
        "pipeline.local": ["*.jinja"],
        "registry": ["*.jinja"],
        "serving": ["web/*", "tf_serving/*"],
    },
    install_requires=[
        "absl-py>=1.4",
        "aiohttp>=3.10",
        "apache-beam[gcp]>=2.77,<2.78",
        "click>=8.1",
        "cronsim>=2.6",
        "filelock>=3.13",
        "fsspec[http]>=2024.2",
        "grimp>=3.5",
        "grpcio>=1.66",
        # Later releases need protobuf 7.
        "grpcio-health-checking>=1.66,<1.82",
        "grpcio-reflection>=1.66,<1.82",
        "jinja2>=3.1",
        "keras>=3.12,<4",
        "keras-tuner>=1.4.7",
        "kfp[kubernetes]>=2.14,<3",
        "matplotlib>=3.9",
        "ml-metadata>=1.17.1,<1.22",
        "model-signing>=1.1",
        "numpy>=1.26,<3",
        "orjson>=3.10",
        "packaging>=24",
        "pillow>=10",
        "prometheus-client>=0.21",
        "psutil>=6",
        "pyarrow>=10,<19",
        "pydantic>=2.9",
        "pydantic-settings>=2.6",
        # model-signing imports it without requiring it.
        "pyopenssl>=25",
        "requests>=2.32",
        "rich>=13",
        "scipy>=1.11",
        "tensorboard>=2.20",
        "tensorflow>=2.21,<2.22",
        "tensorflow-data-validation>=1.16.1,<1.22",
        "tensorflow-metadata>=1.21,<1.22",
        "tensorflow-model-analysis>=0.52,<0.53",
        "tensorflow-serving-api>=2.19",
        "tensorflow-transform>=1.21,<1.22",
        "tfx>=1.21,<1.22",
        "tfx-bsl>=1.21,<1.22",
        "uvloop>=0.21",
    ],
    extras_require={
        "gs": ["gcsfs>=2024.2"],
        "notebook": ["jupyterlab>=4.2"],
        "s3": ["s3fs>=2024.2"],
    },
    entry_points={"console_scripts": ["digits = pipeline.cli.main:main"]},
)
