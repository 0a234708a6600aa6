"""Planted in the kernels of a GPU, and in what launches them."""

from faults.fault import Fault

# fmt: off
FAULTS = {
    "device: dU from the state after the step": Fault(
        "recurrent/cuda.py",
        (("if k else self._before(self.y, self.initial[0])", "if k else self.y"),),
        "kernels/cuda/test_device.py::test_cells_in_several_sizes[strict-RNN-False-cuda]",
    ),
    "device: what the product sends back lost": Fault(
        "recurrent/cuda.py",
        (("                    back=back,", "                    back=None,"),),
        "kernels/cuda/test_device.py::test_cells_in_several_sizes[strict-RNN-False-cuda]",
    ),
    "device: gru's two gradients taken for one": Fault(
        "recurrent/cuda.py",
        (("if dQ is not None and (self.facts.apart or stage.matrix):", "if dQ is not None and stage.matrix:"),),
        "kernels/cuda/test_device.py::test_cells_in_several_sizes[strict-GRU-False-cuda]",
    ),
    "device: a reverse direction goes forward": Fault(
        "recurrent/cuda.py",
        (("if self.reverse else range(T)", "if False else range(T)"),),
        "kernels/cuda/test_device.py::test_cells_in_several_sizes[strict-RNN-True-cuda]",
    ),
    "device: rows taken for neighbours": Fault(
        "recurrent/cuda.py",
        (("a.strides[0] // item if", "a.shape[1] if"),),
        "kernels/cuda/test_device.py::test_backend_agrees_with_numpy_float64",
    ),
    "device: one-hot gradients: = for +=": Fault(
        "core/backend.py",
        (("out += marks @", "out[...] = marks @"),),
        "kernels/cuda/test_device.py::test_training_steps_give_the_numbers_of_numpy_and_wait_for_nothing",
    ),
    "device: an infinite norm is finite": Fault(
        "optim/on_device.py",
        (("finite = xp.isfinite(norm)", "finite = norm == norm"),),
        "kernels/cuda/test_device.py::test_a_step_that_is_not_finite_is_skipped_and_told_of_when_a_norm_is_read",
    ),
    "device: a step waits": Fault(
        "optim/on_device.py",
        (("    first[...] = xp.where(", "    bool(finite)\n    first[...] = xp.where("),),
        "kernels/cuda/test_device.py::test_training_steps_give_the_numbers_of_numpy_and_wait_for_nothing",
    ),
    "device: a skipped step decays the weights": Fault(
        "optim/optimisers.py",
        (("a[...] = xp.where(taken, a, old)", "a[...] = a"),),
        "kernels/cuda/test_device.py::test_a_step_that_is_not_finite_is_skipped_and_told_of_when_a_norm_is_read",
    ),
    "device emitting: a gate's product is not added": Fault(
        "kernels/cuda/emitting.py",
        (("stage.product and stage.first <= k", "stage.product and stage.first < k"),),
        "kernels/cuda/test_device.py::test_cells_in_several_sizes[strict-LSTM-False-cuda]",
    ),
    "device emitting: a recurrent bias forgotten": Fault(
        "kernels/cuda/emitting.py",
        (('bias = " + F(r.v[j])" if facts.bias else ""', 'bias = ""'),),
        "kernels/cuda/test_device.py::test_cells_in_several_sizes[strict-GRU-False-cuda]",
    ),
    "device emitting: a difference is a sum": Fault(
        "kernels/facts.py",
        (('"subtract": "-"', '"subtract": "+"'),),
        "kernels/cuda/test_device.py::test_cells_in_several_sizes[strict-GRU-False-cuda]",
    ),
    "device emitting: what the next stage's product sends back lost": Fault(
        "kernels/cuda/emitting.py",
        (("if place == after else value", "if False else value"),),
        "kernels/cuda/test_device.py::test_cells_in_several_sizes[strict-gru before-False-cuda]",
    ),
    "device: a matrix taken for columns of U": Fault(
        "recurrent/passes.py",
        (("weight(stage.matrix) if stage.matrix", 'weight("U")[:, :H].T if stage.matrix'),),
        "kernels/cuda/test_device.py::test_cells_in_several_sizes[strict-projected-False-cuda]",
    ),
    "device: a per-unit weight's gradient from the first row": Fault(
        "recurrent/cuda.py",
        (("(k + 1) * H].sum((0, 1))", "(k + 1) * H][:, 0].sum(0)"),),
        "kernels/cuda/test_device.py::test_cells_in_several_sizes[strict-PeepholeLSTMCell-False-cuda]",
    ),
    "device: zones not turned with the steps": Fault(
        "recurrent/cuda.py",
        (("zone[::-1] if self.reverse else zone", "zone"),),
        "kernels/cuda/test_device.py::test_cells_in_several_sizes[strict-zoneout-True-cuda]",
    ),
    "device kernel: rows go on past their lengths": Fault(
        "kernels/cuda/scan.cu",
        (("lengths && t >= lengths[row]", "false"),),
        "kernels/cuda/test_device.py::test_cells_in_several_sizes[strict-RNN-False-cuda]",
    ),
    "device kernel: only a row's first tile": Fault(
        "kernels/cuda/scan.cu",
        (("    i64 next = tiles * blockDim.x, columns = Stage::apart", "    if (blockIdx.x % tiles) return;\n    i64 next = tiles * blockDim.x, columns = Stage::apart"),),
        "kernels/cuda/test_device.py::test_cells_in_several_sizes[strict-RNN-False-cuda]",
    ),
    "device kernel: a skipped step is taken": Fault(
        "kernels/cuda/updates.cu",
        (("if (*scale >= 0) w[k] -=", "w[k] -="),),
        "kernels/cuda/test_device.py::test_a_step_that_is_not_finite_is_skipped_and_told_of_when_a_norm_is_read",
    ),
    "device kernel adam: not scaled": Fault(
        "kernels/cuda/updates.cu",
        (("g[k] * F(*scale) + w[k] * F(decay)", "g[k] + w[k] * F(decay)"),),
        "kernels/cuda/test_updates_on_cpu.py::test_adam_is_a_step_of_adam_or_none[float32]",
    ),
}
# fmt: on
