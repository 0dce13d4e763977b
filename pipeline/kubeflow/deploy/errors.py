"""What can go wrong between `digits deploy` and Kubeflow Pipelines, apart by what to do about it."""


class WrongDeploymentError(ValueError):
    """What was asked for cannot be; the message names it, and what can."""


class KubeflowError(RuntimeError):
    """Kubeflow Pipelines refuses, or has failed; the message says what to do."""


class KubeflowUnreachableError(KubeflowError):
    """Kubeflow Pipelines does not answer now."""
