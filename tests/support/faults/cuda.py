"""Planted in the kernels of a GPU, and in what launches them."""

from faults.fault import Fault

# fmt: off
FAULTS = {
    "device: dU from the state after the step": Fault(
        "recurrent/cuda.py",
        (("self.y[earlier].reshape", "self.y[later].reshape"),),
        "kernels/cuda/test_device.py::test_cells_in_several_sizes[strict-RNN-False-cuda]",
    ),
    "device: what the product sends back lost": Fault(
        "recurrent/cuda.py",
        (("back=back,", "back=None,"),),
        "kernels/cuda/test_device.py::test_cells_in_several_sizes[strict-RNN-False-cuda]",
    ),
    "device: gru's two gradients taken for one": Fault(
        "recurrent/cuda.py",
        (("if self.facts.bias else dP", "if False else dP"),),
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
    "device kernel lstm: f saved for i": Fault(
        "kernels/cuda/cells.cuh",
        (("G[j] = S(i);", "G[j] = S(f);"),),
        "kernels/cuda/test_device.py::test_cells_in_several_sizes[strict-LSTM-False-cuda]",
    ),
    "device kernel gru: sign of dz": Fault(
        "kernels/cuda/cells.cuh",
        (("dh1 * (F(h[j]) - n);", "dh1 * (n - F(h[j]));"),),
        "kernels/cuda/test_device.py::test_cells_in_several_sizes[strict-GRU-False-cuda]",
    ),
    "device kernel: rows go on past their lengths": Fault(
        "kernels/cuda/scan.cu",
        (("lengths && t >= lengths[row]", "false"),),
        "kernels/cuda/test_device.py::test_cells_in_several_sizes[strict-RNN-False-cuda]",
    ),
    "device kernel: only a row's first tile": Fault(
        "kernels/cuda/scan.cu",
        (("F dh1 = F(dh[own + j]);", "if (blockIdx.x % tiles) return;\n    F dh1 = F(dh[own + j]);"),),
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
        "kernels/cuda/test_kernels_on_cpu.py::test_adam_is_a_step_of_adam_or_none[float32]",
    ),
}
# fmt: on
