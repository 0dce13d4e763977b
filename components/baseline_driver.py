"""What steps know of a baseline, which they look up in the serving folder, not in their input artifacts."""

from abc import abstractmethod
from pathlib import Path

from tfx.dsl.components.base.base_driver import BaseDriver as ComponentDriver
from tfx.orchestration.metadata import Metadata
from tfx.orchestration.portable.base_driver import BaseDriver
from tfx.orchestration.portable.data_types import ExecutionInfo
from tfx.proto.orchestration.driver_output_pb2 import DriverOutput

from components.features import SCHEMA_FILE, Contract
from components.schema import parse_contract
from registry.provenance import EXTRA_FOLDER

BASELINE_KEY = "baseline"
"""Execution property for the identity of the baseline, which the driver sets; empty if there is none."""

SERVING_DIRECTORY_KEY = "serving_directory"
"""Execution property for the folder of the pushed versions."""

VERSION_PROPERTY = "version"
"""Custom property of the baseline: its version number as text; empty if there is no baseline."""

ACCEPTED_PROPERTY = "accepted"
"""Custom property of the baseline: 1 if a person has accepted data that contradicts it, else 0."""


class BaselineDriver(ComponentDriver, BaseDriver):
    """Sets the execution property `baseline` before TFX looks into its cache.

    Executors look up the baseline themselves, because some runners, such as Kubeflow Pipelines, do not call drivers.
    Such a runner must not cache these steps.

    Components require the first base class and the launcher calls the second, as in TFX's own
    tfx/components/example_gen/driver.py.
    """

    def __init__(self, metadata_handle: Metadata) -> None:
        """Sets the connection to ML Metadata; TFX calls this."""
        ComponentDriver.__init__(self, metadata_handle)
        BaseDriver.__init__(self, metadata_handle)

    @abstractmethod
    def baseline_identity(self, execution_info: ExecutionInfo) -> str:
        """Returns a fingerprint of the baseline for an execution; empty if there is none."""

    def run(self, execution_info: ExecutionInfo) -> DriverOutput:
        """Returns the execution property `baseline`; TFX calls this."""
        output = DriverOutput()
        output.exec_properties[BASELINE_KEY].string_value = self.baseline_identity(execution_info)
        return output


def baseline_contract(version: Path) -> Contract | None:
    """Reads the contract from the folder of a pushed version; None if it has no schema, like those of earlier releases.

    Raises:
        SchemaError: The schema defines no contract.
    """
    file = version / EXTRA_FOLDER / SCHEMA_FILE
    if not file.exists():
        return None
    return parse_contract(file.read_text(encoding="utf-8"), str(file))
