"""The optimizer: Muon for the kernels of convolutions, AdamW for all other weights."""

import math
from collections.abc import Sequence

import keras
from keras import ops

_MOMENTUM = 0.9
_SECOND_MOMENT_DECAY = 0.999
_EPSILON = 1e-7

_MAX_COLORS = 3
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_NUM_ITERATIONS = 5
_UPDATE_SIZE = 0.2
"""Root mean square of an orthogonalized update, relative to the learning rate, which AdamW's have on average."""


class Muon(keras.optimizers.Optimizer):
    """Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon) for convolutions.

    Each update of a kernel is the momentum of its gradients, with all singular values moved close to one. A network
    needs about half as many epochs as with AdamW. Updates are scaled as in Liu et al. 2025, arXiv:2502.16982, so that
    one learning rate and one weight decay suit all weights. `keras.optimizers.Muon` leaves convolutions to AdamW.

    All other weights, and the kernels of convolutions that read pixels or have one output, are updated as by AdamW.
    """

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Creates the moments; Keras calls this."""
        if self.built:
            return
        super().build(variables)
        self._first_moments = [self.add_variable_from_reference(each, name="first_moment") for each in variables]
        self._second_moments = [
            None if _uses_muon(each) else self.add_variable_from_reference(each, name="second_moment")
            for each in variables
        ]

    def update_step(
        self, gradient: keras.KerasTensor, variable: keras.Variable, learning_rate: keras.KerasTensor
    ) -> None:
        """Updates one weight; Keras calls this, after the weight decay."""
        index = self._get_variable_index(variable)
        first, second = self._first_moments[index], self._second_moments[index]
        rate = ops.cast(learning_rate, variable.dtype)
        self.assign_add(first, (gradient - first) * (1 - _MOMENTUM))
        if second is None:
            # Nesterov's momentum: as if the same gradient came once more.
            ahead = _MOMENTUM * first + (1 - _MOMENTUM) * gradient
            self.assign_sub(variable, rate * orthogonalize(ahead))
            return
        self.assign_add(second, (ops.square(gradient) - second) * (1 - _SECOND_MOMENT_DECAY))
        step = ops.cast(self.iterations + 1, variable.dtype)
        correction = ops.sqrt(1 - _SECOND_MOMENT_DECAY**step) / (1 - _MOMENTUM**step)
        self.assign_sub(variable, rate * correction * first / (ops.sqrt(second) + _EPSILON))


def orthogonalize(update: keras.KerasTensor) -> keras.KerasTensor:
    """Moves the singular values of a kernel close to one, with the Newton-Schulz iteration.

    Args:
        update: float32[height,width,inputs,outputs], as a matrix of `outputs` columns.

    Returns:
        float32 of the same shape, with a root mean square of about 0.2.
    """
    num_rows, num_columns = math.prod(update.shape[:-1]), update.shape[-1]
    is_tall = num_rows > num_columns
    matrix = ops.reshape(update, (num_rows, num_columns))
    matrix = ops.transpose(matrix) if is_tall else matrix
    matrix = matrix / (ops.norm(matrix) + _EPSILON)
    a, b, c = _COEFFICIENTS
    for _ in range(_NUM_ITERATIONS):
        product = ops.matmul(matrix, ops.transpose(matrix))
        matrix = a * matrix + ops.matmul(b * product + c * ops.matmul(product, product), matrix)
    matrix = ops.transpose(matrix) if is_tall else matrix
    return ops.reshape(matrix, update.shape) * (_UPDATE_SIZE * math.sqrt(max(num_rows, num_columns)))


def _uses_muon(variable: keras.Variable) -> bool:
    if len(variable.shape) != 4:
        return False
    *_, num_inputs, num_outputs = variable.shape
    return num_inputs > _MAX_COLORS and num_outputs > 1
