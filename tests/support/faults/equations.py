"""Planted in cells.py, more_cells.py and scan.py: the equations, and time."""

from faults.fault import Fault

# fmt: off
FAULTS = {
    "tanh: derivative 1 - h": Fault(
        "cells.py",
        (("(1 - h1 * h1)", "(1 - h1)"),),
        "evidence/test_cells.py::test_unstep_is_the_transposed_jacobian_of_step[TanhCell-0]",
    ),
    "relu: derivative 1 everywhere": Fault(
        "cells.py",
        (("da = np.where(a.real <= 0, a.dtype.type(0), dh1)", "da = dh1"),),
        "evidence/test_cells.py::test_unstep_is_the_transposed_jacobian_of_step[ReluCell-0]",
    ),
    "relu: abs": Fault(
        "cells.py",
        (("h1 = np.where(a.real <= 0, a.dtype.type(0), a)", "h1 = np.where(a.real <= 0, -a, a)"),),
        "evidence/test_cells.py::test_unstep_is_the_transposed_jacobian_of_step[ReluCell-0]",
    ),
    "sigmoid: too steep": Fault(
        "cells.py",
        (("0.5 * np.tanh(0.5 * a) + 0.5", "0.5 * np.tanh(a) + 0.5"),),
        "evidence/test_cells.py::test_unstep_is_the_transposed_jacobian_of_step[GRUCell-0]",
    ),
    "gru: r and z swapped, consistently": Fault(
        "cells.py",
        (
            ("r = sigmoid(p_r + q_r)  # (1)\n        z = sigmoid(p_z + q_z)", "z = sigmoid(p_r + q_r)\n        r = sigmoid(p_z + q_z)"),
            ("join(da_r, da_z, da_n), join(da_r, da_z, du)", "join(da_z, da_r, da_n), join(da_z, da_r, du)"),
        ),
        "evidence/test_oracle.py::test_each_cell_agrees_with_the_oracle[GRUCell]",
    ),
    "gru: z for 1 - z, consistently": Fault(
        "cells.py",
        (
            ("n = np.tanh(p_n + r * u)  # (4)\n        h1 = (1 - z) * n + z * h", "n = np.tanh(p_n + r * u)\n        h1 = z * n + (1 - z) * h"),
            ("r, z, n, u, h = saved\n        dn = dh1 * (1 - z)  # (5)\n        dz = dh1 * (h - n)  # (5)\n        dh = dh1 * z", "r, z, n, u, h = saved\n        dn = dh1 * z\n        dz = dh1 * (n - h)\n        dh = dh1 * (1 - z)"),
        ),
        "evidence/test_oracle.py::test_each_cell_agrees_with_the_oracle[GRUCell]",
    ),
    "gru: sign of dz": Fault(
        "cells.py",
        (("r, z, n, u, h = saved\n        dn = dh1 * (1 - z)  # (5)\n        dz = dh1 * (h - n)", "r, z, n, u, h = saved\n        dn = dh1 * (1 - z)\n        dz = dh1 * (n - h)"),),
        "evidence/test_cells.py::test_unstep_is_the_transposed_jacobian_of_step[GRUCell-0]",
    ),
    "gru: dq_n without r": Fault(
        "cells.py",
        (("du = da_n * r", "du = da_n"),),
        "evidence/test_cells.py::test_unstep_is_the_transposed_jacobian_of_step[GRUCell-0]",
    ),
    "gru: dr from the state": Fault(
        "cells.py",
        (("dr = da_n * u", "dr = da_n * h"),),
        "evidence/test_cells.py::test_unstep_is_the_transposed_jacobian_of_step[GRUCell-0]",
    ),
    "gru before: h used once": Fault(
        "cells.py",
        (("dh = dh + da * r", "dh = da * r"),),
        "evidence/test_cells.py::test_unstep_is_the_transposed_jacobian_of_step[GRUBeforeCell-0]",
    ),
    "gru before: reset forgotten, consistently": Fault(
        "cells.py",
        (
            ("a = r * h  # (3)", "a = h"),
            ("dr = da * h  # (3)\n        dh = dh + da * r", "dr = da * 0\n        dh = dh + da"),
        ),
        "evidence/test_oracle.py::test_each_cell_agrees_with_the_oracle[GRUBeforeCell]",
    ),
    "lstm: i and f swapped, consistently": Fault(
        "cells.py",
        (
            ("a_i, a_f, a_g, a_o = split", "a_f, a_i, a_g, a_o = split"),
            ("join(da_i, da_f, da_g, da_o)", "join(da_f, da_i, da_g, da_o)"),
        ),
        "evidence/test_oracle.py::test_each_cell_agrees_with_the_oracle[LSTMCell]",
    ),
    "lstm: dc' lost": Fault(
        "cells.py",
        (("dc1 = dc1 + dm * (1 - m * m)", "dc1 = dm * (1 - m * m)"),),
        "evidence/test_cells.py::test_unstep_is_the_transposed_jacobian_of_step[LSTMCell-0]",
    ),
    "lstm: tanh of c not differentiated": Fault(
        "cells.py",
        (("dc1 = dc1 + dm * (1 - m * m)", "dc1 = dc1 + dm"),),
        "evidence/test_cells.py::test_unstep_is_the_transposed_jacobian_of_step[LSTMCell-0]",
    ),
    "lstm: df from the new cell": Fault(
        "cells.py",
        (("df = dc1 * c  # (5)", "df = dc1 * m"),),
        "evidence/test_cells.py::test_unstep_is_the_transposed_jacobian_of_step[LSTMCell-0]",
    ),
    "lstm: direct path lost": Fault(
        "cells.py",
        (("dc = dc1 * f  # (5)", "dc = dc1 * 0"),),
        "evidence/test_cells.py::test_unstep_is_the_transposed_jacobian_of_step[LSTMCell-0]",
    ),
    "lstm: g squashed by the wrong function's derivative": Fault(
        "cells.py",
        (("da_g = dg * (1 - g * g)", "da_g = dg * g * (1 - g)"),),
        "evidence/test_cells.py::test_unstep_is_the_transposed_jacobian_of_step[LSTMCell-0]",
    ),
    "lstm projected: the gradient does not pass": Fault(
        "cells.py",
        (("return None, dq, (None, dc1)", "return None, dq * 0, (None, dc1)"),),
        "evidence/test_cells.py::test_unstep_is_the_transposed_jacobian_of_step[ProjectedLSTMCell(proj_size=3)-1]",
    ),
    "lstm projected: dc' lost": Fault(
        "cells.py",
        (("return None, dq, (None, dc1)", "return None, dq, (None, dc1 * 0)"),),
        "evidence/test_cells.py::test_unstep_is_the_transposed_jacobian_of_step[ProjectedLSTMCell(proj_size=3)-1]",
    ),
    "lstm projected: squashed, forward only": Fault(
        "cells.py",
        (("_, c1 = state\n        h1 = q  # (8)", "_, c1 = state\n        h1 = np.tanh(q)"),),
        "evidence/test_cells.py::test_unstep_is_the_transposed_jacobian_of_step[ProjectedLSTMCell(proj_size=3)-1]",
    ),
    "recurrent bias dropped": Fault(
        "scan.py",
        (("q[:, block] += v", "q[:, block] += 0 * v"),),
        "evidence/test_conformance.py::test_the_kernels_of_each_cell_by_themselves[gru]",
    ),
    "off by one in dy": Fault(
        "scan.py",
        (("dstate[0] + dy[t],", "dstate[0] + dy[t - 1],"),),
        "recurrent/test_segments.py::test_what_is_computed_again_is_the_same[whole-float64-numpy-rnn]",
    ),
    "off by one in p": Fault(
        "scan.py",
        (("stage.step(P[t, :", "stage.step(P[t - 1, :"),),
        "evidence/test_oracle.py::test_every_layer_agrees_with_the_oracle",
    ),
    "dU from the state after the step": Fault(
        "scan.py",
        (("self.A = [h[:-1],", "self.A = [h[1:],"),),
        "evidence/test_gradients.py::test_every_recurrent_layer_by_complex_step",
    ),
    "a matrix multiplies the state, not what comes before it": Fault(
        "scan.py",
        (("self.A[k][t] = flow[0]", "self.A[k][t] = flow[-1]"),),
        "evidence/test_gradients.py::test_every_recurrent_layer_by_complex_step",
    ),
    "direct path dropped": Fault(
        "scan.py",
        (("(da if direct[0] is None else da + direct[0], *direct[1:])", "(da, *direct[1:])"),),
        "evidence/test_gradients.py::test_every_recurrent_layer_by_complex_step",
    ),
    "gradient does not go back through U": Fault(
        "scan.py",
        (("da = dq @ self.U[k].T", "da = 0 * dq @ self.U[k].T"),),
        "evidence/test_gradients.py::test_every_recurrent_layer_by_complex_step",
    ),
    "state not carried past a length": Fault(
        "scan.py",
        (("self.xp.where(k[t], old, new) for", "new for"),),
        "evidence/test_oracle.py::test_every_layer_agrees_with_the_oracle",
    ),
    "gradient not carried past a length": Fault(
        "scan.py",
        (("new + self.xp.where(k[t], d, zero) for", "new for"),),
        "evidence/test_gradients.py::test_every_recurrent_layer_by_complex_step",
    ),
    "padding's gradient leaks": Fault(
        "scan.py",
        (("self.xp.where(k[t], zero, d) for", "d for"),),
        "evidence/test_gradients.py::test_every_recurrent_layer_by_complex_step",
    ),
    "per-unit gradients: = for +=": Fault(
        "scan.py",
        (("dunits[k][i] += part.sum(0)", "dunits[k][i] = part.sum(0)"),),
        "evidence/test_gradients.py::test_a_cell_with_stages_units_and_recurrent_biases",
    ),
    "reverse direction does not reverse": Fault(
        "scan.py",
        (("return a[::-1]", "return a"),),
        "evidence/test_oracle.py::test_every_layer_agrees_with_the_oracle",
    ),
    "reverse direction starts at the end of the padding": Fault(
        "scan.py",
        (("if run.flipped is None:", "if True:"),),
        "evidence/test_conformance.py::test_the_kernels_of_each_cell_by_themselves[tanh]",
    ),
    "zoneout: what goes by the step alone": Fault(
        "scan.py",
        (("new + self.xp.where(k[t], d, zero)", "self.xp.where(k[t], d, new)"),),
        "evidence/test_gradients.py::test_every_recurrent_layer_by_complex_step",
    ),
    "zoneout: the new for the old in inference": Fault(
        "scan.py",
        (("p * old + (1 - p) * new", "(1 - p) * old + p * new"),),
        "recurrent/test_noise.py::test_zoneout_in_inference_is_what_the_oracle_says",
    ),
    "bidirectional: a mask not turned with the rows": Fault(
        "scan.py",
        (("run._replace(skip=flip(run.skip, run))", "run"),),
        "recurrent/test_masks.py::test_reversed_twice_is_as_it_was_and_once_is_the_other_direction",
    ),
    "segments: each step's product with its own h": Fault(
        "scan.py",
        (("Q = (h[:-1].reshape", "Q = (h[1:].reshape"),),
        "recurrent/test_segments.py::test_what_is_computed_again_is_the_same[whole-float64-numpy-gru]",
    ),
    "peephole: the output gate sees the cell before": Fault(
        "more_cells.py",
        (("o = sigmoid(a_o + w_o * c1)", "o = sigmoid(a_o + w_o * c)"),),
        "evidence/test_cells.py::test_unstep_is_the_transposed_jacobian_of_step[PeepholeLSTMCell-0]",
    ),
    "peephole: o's path back to the cell forgotten": Fault(
        "more_cells.py",
        (("dc1 = dc1 + dm * (1 - m * m) + da_o * w_o", "dc1 = dc1 + dm * (1 - m * m)"),),
        "evidence/test_cells.py::test_unstep_is_the_transposed_jacobian_of_step[PeepholeLSTMCell-0]",
    ),
    "peephole: dw_o of the cell before": Fault(
        "more_cells.py",
        (("dw_o = da_o * c1", "dw_o = da_o * c"),),
        "evidence/test_cells.py::test_unstep_is_the_transposed_jacobian_of_step[PeepholeLSTMCell-0]",
    ),
    "coupled: what is written is not what is forgotten": Fault(
        "more_cells.py",
        (("dg = dc1 * (1 - f)  # (4)", "dg = dc1 * f  # (4)"),),
        "evidence/test_cells.py::test_unstep_is_the_transposed_jacobian_of_step[CoupledLSTMCell-0]",
    ),
    "indrnn: dw of the state after": Fault(
        "more_cells.py",
        (("da, None, (da * w,), da * h", "da, None, (da * w,), da * (a + h)"),),
        "evidence/test_cells.py::test_unstep_is_the_transposed_jacobian_of_step[IndRNNCell-0]",
    ),
    "mingru: sign of dz": Fault(
        "more_cells.py",
        (("dz = dh1 * (n - h)", "dz = dh1 * (h - n)"),),
        "evidence/test_cells.py::test_unstep_is_the_transposed_jacobian_of_step[MinGRUCell-0]",
    ),
    "minlstm: a share that is not of both": Fault(
        "more_cells.py",
        (("a = (f + E) / s  # (5)", "a = (f + E) / (s + i)  # (5)"),),
        "evidence/test_cells.py::test_unstep_is_the_transposed_jacobian_of_step[MinLSTMCell-0]",
    ),
    "minlstm: f in the place of i": Fault(
        "more_cells.py",
        (("da_i = -da * a * (i / s) * (1 - i)", "da_i = -da * a * (f / s) * (1 - i)"),),
        "evidence/test_cells.py::test_unstep_is_the_transposed_jacobian_of_step[MinLSTMCell-0]",
    ),
    "sru: the highway's share": Fault(
        "more_cells.py",
        (("ds = dh1 * (1 - r)", "ds = dh1 * r"),),
        "evidence/test_cells.py::test_unstep_is_the_transposed_jacobian_of_step[SRUCell-0]",
    ),
    "sru: r and f change places": Fault(
        "more_cells.py",
        (("g, p_f, p_r, s = split(p, 4)", "g, p_r, p_f, s = split(p, 4)"),),
        "evidence/test_cells.py::test_unstep_is_the_transposed_jacobian_of_step[SRUCell-0]",
    ),
    "layer norm: a scale of the sum of squares": Fault(
        "more_cells.py",
        (("    out: Array = 1 / np.sqrt(mean(off * off) + eps)", "    out: Array = 1 / np.sqrt(a.shape[-1] * mean(off * off) + eps)"),),
        "evidence/test_cells.py::test_unstep_is_the_transposed_jacobian_of_step[LayerNormGRUCell-0]",
    ),
    "layer norm: the variance does not move": Fault(
        "more_cells.py",
        (("s * (dN - mean(dN) - N * mean(dN * N))", "s * (dN - mean(dN))"),),
        "evidence/test_cells.py::test_unstep_is_the_transposed_jacobian_of_step[LayerNormGRUCell-0]",
    ),
    "layer norm, lstm: the cell's gain forgotten on the way back": Fault(
        "more_cells.py",
        (("dC = da_c * v_c  # (13)", "dC = da_c  # (13)"),),
        "evidence/test_cells.py::test_unstep_is_the_transposed_jacobian_of_step[LayerNormLSTMCell-0]",
    ),
    "layer norm, gru: the gains of p and q change places": Fault(
        "more_cells.py",
        (("da_r * P_r, da_r * Q_r, da_r * v_r, da_r * w_r", "da_r * P_r, da_r * Q_r, da_r * w_r, da_r * v_r"),),
        "evidence/test_cells.py::test_unstep_is_the_transposed_jacobian_of_step[LayerNormGRUCell-0]",
    ),
    "exact sigmoid: consistently one of few digits": Fault(
        "more_cells.py",
        (("    out: Array = np.where(a.real < 0, e, a.dtype.type(1)) / (1 + e)\n", "    out: Array = sigmoid(a) + 0 * e\n"),),
        "evidence/test_cells.py::test_exact_sigmoid_is_right_where_it_is_small",
    ),
}
# fmt: on
