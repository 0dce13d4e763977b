"""Devices and machines that train together, and what Keras needs to train on several machines."""

from typing import Any

import keras
import tensorflow as tf


def choose_strategy() -> tf.distribute.Strategy:
    """Chooses what to train on: the machines in `TF_CONFIG`, or all GPUs of this machine, or its CPU.

    TensorFlow connects the machines at its start, so this must be called before it computes anything.
    """
    cluster = tf.distribute.cluster_resolver.TFConfigClusterResolver().cluster_spec().as_dict()
    if sum(len(cluster.get(job, ())) for job in ("chief", "worker")) > 1:
        return tf.distribute.MultiWorkerMirroredStrategy()
    return tf.distribute.MirroredStrategy() if tf.config.list_physical_devices("GPU") else tf.distribute.get_strategy()


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Returns whether this process writes the results; of several machines, the first one does."""
    resolver = strategy.cluster_resolver
    if resolver is None:
        return True
    first_job = "chief" if "chief" in resolver.cluster_spec().jobs else "worker"
    return (resolver.task_type, resolver.task_id) == (first_job, 0)


class DistributedModel(keras.Model):
    """A model that Keras can train under any strategy, if it is created outside of the strategy's scope.

    Under `MultiWorkerMirroredStrategy`, `keras.Model.fit` fails (keras-team/keras#20585): it cannot build a model that
    was created in the scope, and it averages scalar metrics over an axis that they lack.
    """

    def get_metrics_result(self) -> dict[str, Any]:
        """Returns the metrics, as vectors of one number where Keras averages them over machines; Keras calls this."""
        results = super().get_metrics_result()
        is_multi_worker = isinstance(tf.distribute.get_strategy(), tf.distribute.MultiWorkerMirroredStrategy)
        if tf.distribute.in_cross_replica_context() or not is_multi_worker:
            return results
        return {name: keras.ops.reshape(value, (1,)) for name, value in results.items()}
