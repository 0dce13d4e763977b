"""Makes TFX's cache see the baseline, which a step looks up in the serving folder and no artifact of the run holds."""

from abc import abstractmethod

from tfx.dsl.components.base.base_driver import BaseDriver as ComponentDriver
from tfx.orchestration.metadata import Metadata
from tfx.orchestration.portable.base_driver import BaseDriver
from tfx.orchestration.portable.data_types import ExecutionInfo
from tfx.proto.orchestration.driver_output_pb2 import DriverOutput

BASELINE_KEY = "baseline"
"""Execution property that holds the identity of the baseline; empty where there is none."""

SERVING_DIRECTORY_KEY = "serving_directory"
"""Execution property that holds the folder of the pushed versions."""


class BaselineDriver(ComponentDriver, BaseDriver):
    """Sets the execution property `baseline` before TFX looks into its cache.

    Executors find the baseline by themselves, so their steps also work on runners that call no drivers, such as
    Kubeflow Pipelines. But such a runner must not cache these steps: it would answer from a stale baseline.

    Of both base classes the first is what components must name and the second what the launcher calls, as in TFX's own
    tfx/components/example_gen/driver.py.
    """

    def __init__(self, metadata_handle: Metadata) -> None:
        """Takes the connection to ML Metadata, which is not used; TFX calls this."""
        ComponentDriver.__init__(self, metadata_handle)
        BaseDriver.__init__(self, metadata_handle)

    @abstractmethod
    def baseline_identity(self, execution_info: ExecutionInfo) -> str:
        """Finds the baseline.

        Args:
            execution_info: The inputs and execution properties of the step.

        Returns:
            A fingerprint of its content; empty where there is none.
        """

    def run(self, execution_info: ExecutionInfo) -> DriverOutput:
        """Finds the baseline; TFX calls this.

        Args:
            execution_info: The inputs and execution properties of the step.

        Returns:
            The execution property `baseline`.
        """
        output = DriverOutput()
        output.exec_properties[BASELINE_KEY].string_value = self.baseline_identity(execution_info)
        return output
