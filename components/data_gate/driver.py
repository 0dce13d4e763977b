"""Keys the cache of the data gate with the last data that passed."""

from tfx.orchestration.portable.data_types import ExecutionInfo

from components.baseline_driver import SERVING_DIRECTORY_KEY, BaselineDriver
from components.data_gate.baseline_statistics import BaselineStatistics
from components.data_gate.executor import STATISTICS_KEY, find_baseline


class Driver(BaselineDriver):
    """Driver of DataGate."""

    def baseline_identity(self, execution_info: ExecutionInfo) -> str:
        """Returns the hex SHA-256 of the file of the baseline's statistics; empty where there is no baseline."""
        [statistics] = execution_info.input_dict[STATISTICS_KEY]
        baseline = find_baseline(statistics, execution_info.exec_properties[SERVING_DIRECTORY_KEY])
        return baseline.fingerprint if isinstance(baseline, BaselineStatistics) else ""
