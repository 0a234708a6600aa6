"""Mistakes that students make in a course's functions: one replacement each, in the function that must be named."""

from dataclasses import dataclass

from course_ctc import CTC_MISTAKES
from course_work import RIGHT


@dataclass(frozen=True)
class Mistake:
    """``old`` in ``function`` is replaced by ``new``; a method is named as ``Class.method``."""

    work: str
    function: str
    old: str
    new: str

    @property
    def name(self) -> str:
        """A name for a test."""
        return f"{self.work} {self.function}: {self.old.strip()} -> {self.new.strip()}"

    def _start(self, source: str) -> int:
        start = 0
        for part in self.function.split("."):
            start = min(at for word in ("def", "class") if (at := source.find(f"{word} {part}", start)) >= 0)
        return start

    def applied(self, source: str | None = None) -> str:
        """The whole file with the mistake in it."""
        source = RIGHT[self.work] if source is None else source
        start = self._start(source)
        rest = source[start:]
        end = rest.find("\ndef ", 1)
        assert self.old in rest[: end if end > 0 else None], self.name
        return source[:start] + rest.replace(self.old, self.new, 1)

    @property
    def line(self) -> int:
        """The number of the line that is wrong."""
        source = RIGHT[self.work]
        start = self._start(source)
        at = source.index(self.old, start) + len(self.old) - len(self.old.lstrip("\n"))
        return source[:at].count("\n") + 1


def _of(work: str, function: str, *pairs: tuple[str, str]) -> list[Mistake]:
    return [Mistake(work, function, old, new) for old, new in pairs]


MISTAKES = [
    # ------------------------------------------------------------------ CS231n
    *_of("cs231n", "word_embedding_forward", ("W[x]", "W[x] * 2")),
    *_of(
        "cs231n",
        "word_embedding_backward",
        ("np.add.at(dW, x, dout)", "dW[x] += dout"),
        ("np.add.at(dW, x, dout)", "dW[x] = dout"),
        ("np.add.at(dW, x, dout)", "np.add.at(dW, x, -dout)"),
    ),
    *_of("cs231n", "temporal_affine_forward", (" + b\n", "\n"), (" + b\n", " - b\n")),
    *_of(
        "cs231n",
        "temporal_affine_backward",
        ("flat.sum(axis=0)", "flat.mean(axis=0)"),
        ("flat.sum(axis=0)", "flat.sum(axis=1)"),
        ("flat.sum(axis=0)", "flat.sum()"),
        ("flat.dot(w.T)", "flat.dot(w.T) / N"),
        ("x.reshape(N * T, D).T.dot(flat)", "-x.reshape(N * T, D).T.dot(flat)"),
        ("return dx, dw, db", "return dx, db, dw"),
    ),
    *_of(
        "cs231n",
        "temporal_softmax_loss",
        ("dscores[np.arange(N * T), labels] -= 1", "dscores[np.arange(N * T), labels] += 1"),
        ("    dscores /= N\n", "    pass\n"),
        ("dscores /= N", "dscores /= N * T"),
        ("    dscores *= weights[:, None]\n", "    pass\n"),
        ("-np.sum(weights", "np.sum(weights"),
        ("np.log(picked)) / N", "np.log(picked)) / (N * T)"),
        ("np.sum(weights * np.log(picked))", "np.sum(np.log(picked))"),
    ),
    *_of(
        "cs231n",
        "rnn_step_forward",
        ("prev_h.dot(Wh) + b", "prev_h.dot(Wh)"),
        ("x.dot(Wx) + prev_h", "x.dot(Wx) - prev_h"),
        ("np.tanh(", "sigmoid("),
        ("prev_h.dot(Wh)", "prev_h.dot(Wh.T)"),
    ),
    *_of(
        "cs231n",
        "rnn_step_backward",
        ("(1 - next_h ** 2)", "(1 + next_h ** 2)"),
        ("(1 - next_h ** 2)", "(1 - next_h)"),
        ("(1 - next_h ** 2)", "(1 - prev_h ** 2)"),
        ("dnext_h * (1 - next_h ** 2)", "(1 - next_h ** 2)"),
        ("dnext_h * (1 - next_h ** 2)", "dnext_h"),
        ("da.dot(Wx.T)", "da.dot(Wx)"),
        ("da.dot(Wh.T)", "da.dot(Wh)"),
        ("x.T.dot(da)", "x.dot(da)"),
        ("x.T.dot(da)", "da.T.dot(x)"),
        ("prev_h.T.dot(da)", "next_h.T.dot(da)"),
        ("prev_h.T.dot(da)", "da.T.dot(prev_h)"),
        ("da.sum(axis=0)", "da.mean(axis=0)"),
        ("da.sum(axis=0)", "da.sum(axis=1)"),
        ("db = da.sum(axis=0)", "db = da"),
        ("x.T.dot(da)", "x.T.dot(dnext_h)"),
        ("return dx, dprev_h, dWx, dWh, db", "return dx, dprev_h, dWh, dWx, db"),
    ),
    *_of(
        "cs231n",
        "rnn_forward",
        ("prev, one = rnn_step_forward(x[:, t, :], prev,", "prev, one = rnn_step_forward(x[:, t, :], h0,"),
        ("h[:, t, :] = prev", "h[:, t, :] = h0"),
        ("x[:, t, :]", "x[:, 0, :]"),
    ),
    *_of(
        "cs231n",
        "rnn_backward",
        ("reversed(range(T))", "range(T)"),
        ("dh[:, t, :] + dprev", "dh[:, t, :]"),
        ("dh[:, t, :] + dprev", "dh[:, t, :] - dprev"),
        ("dWx += dWx_t", "dWx = dWx_t"),
        ("dWh += dWh_t", "dWh = dWh_t"),
        ("db += db_t", "db = db_t"),
        ("caches[t])", "caches[t - 1])"),
        ("reversed(range(T))", "reversed(range(1, T))"),
        ("dh[:, t, :] + dprev", "dh[:, -1, :] + dprev"),
        ("return dx, dprev, dWx", "return dx, np.zeros((N, H)), dWx"),
        ("dx[:, t, :], dprev, dWx_t, dWh_t", "dx[:, t, :], dprev, dWx_t, dWx_t"),
    ),
    *_of(
        "cs231n",
        "lstm_step_forward",
        ("f * prev_c + i * g", "i * prev_c + f * g"),
        ("f * prev_c + i * g", "f * prev_c + i"),
        ("np.tanh(a[:, 3 * H:])", "sigmoid(a[:, 3 * H:])"),
        ("np.tanh(next_c)", "next_c"),
        ("sigmoid(a[:, 2 * H:3 * H])", "sigmoid(a[:, H:2 * H])"),
        ("next_h = o * tanh_c", "next_h = i * tanh_c"),
    ),
    *_of(
        "cs231n",
        "lstm_step_backward",
        ("do = dnext_h * tanh_c", "do = dnext_h"),
        ("dc = dnext_c + dnext_h", "dc = dnext_h"),
        ("(1 - tanh_c ** 2)", "(1 - tanh_c)"),
        ("dnext_c + dnext_h * o", "dnext_c + dnext_h"),
        ("dnext_c + dnext_h", "dnext_c - dnext_h"),
        ("df = dc * prev_c", "df = dc * i"),
        ("df = dc * prev_c", "df = dnext_c * prev_c"),
        ("di = dc * g", "di = dc * f"),
        ("dg = dc * i", "dg = dc * g"),
        ("dprev_c = dc * f", "dprev_c = dc"),
        ("dprev_c = dc * f", "dprev_c = dnext_c * f"),
        ("di * i * (1 - i)", "di * (1 - i)"),
        ("df * f * (1 - f)", "df * f * (1 + f)"),
        ("do * o * (1 - o)", "do * (1 - o ** 2)"),
        ("dg * (1 - g ** 2)", "dg * g * (1 - g)"),
        ("dg * (1 - g ** 2)", "dg * (1 - g)"),
        ("(da_i, da_f, da_o, da_g)", "(da_i, da_f, da_g, da_o)"),
        ("(da_i, da_f, da_o, da_g)", "(da_f, da_i, da_o, da_g)"),
        ("da.dot(Wh.T)", "da.dot(Wx.T)"),
        ("da.sum(axis=0)", "da.sum(axis=0) / len(x)"),
    ),
    *_of("cs231n", "lstm_forward", ("prev, c, Wx, Wh, b)", "prev, np.zeros_like(h0), Wx, Wh, b)")),
    *_of(
        "cs231n",
        "lstm_backward",
        ("dh[:, t, :] + dprev, dc, cache[t]", "dh[:, t, :], dc, cache[t]"),
        ("dh[:, t, :] + dprev, dc, cache[t]", "dh[:, t, :] + dprev, 0 * dc, cache[t]"),
        ("dh[:, t, :] + dprev, dc, cache[t]", "dh[:, t, :] + dprev, dc, cache[0]"),
        ("dx.insert(0, dx_t)", "dx.append(dx_t)"),
        ("dWh = dWh + dWh_t", "dWh = dWh_t"),
        ("range(T - 1, -1, -1)", "range(T - 1, 0, -1)"),
        ("db = db + db_t", "db = db - db_t"),
        ("dprev, dWx, dWh, db\n", "dc, dWx, dWh, db\n"),
    ),
    # ------------------------------------------------------------------ the specialisation
    *_of(
        "specialisation",
        "rnn_cell_forward",
        ("np.dot(Wax, xt) + ba", "np.dot(Wax, xt)"),
        ("np.dot(Wya, a_next) + by", "np.dot(Wya, a_prev) + by"),
    ),
    *_of(
        "specialisation",
        "rnn_cell_backward",
        ("(1 - a_next ** 2)", "(1 - a_prev ** 2)"),
        ("(1 - a_next ** 2) * da_next", "(1 - a_next ** 2)"),
        ("(1 - a_next ** 2)", "(1 - a_next)"),
        ("np.dot(Wax.T, dtanh)", "np.dot(Wax, dtanh)"),
        ("np.dot(Waa.T, dtanh)", "np.dot(Waa, dtanh)"),
        ("np.dot(dtanh, xt.T)", "np.dot(xt, dtanh.T)"),
        ("np.dot(dtanh, a_prev.T)", "np.dot(dtanh, a_next.T)"),
        ("axis=1, keepdims=True", "axis=0, keepdims=True"),
        ("np.sum(dtanh, axis=1, keepdims=True)", "np.sum(dtanh, axis=1)"),
        ("np.sum(dtanh, axis=1, keepdims=True)", "np.mean(dtanh, axis=1, keepdims=True)"),
    ),
    *_of("specialisation", "rnn_forward", ("x[:, :, t], a_next,", "x[:, :, t], a0,")),
    *_of(
        "specialisation",
        "rnn_backward",
        ("da[:, :, t] + da_prevt", "da[:, :, t]"),
        ("reversed(range(T_x))", "range(T_x)"),
        ("dWax += gradients", "dWax = gradients"),
        ("dba += gradients", "dba -= gradients"),
        ('dWaa += gradients["dWaa"]', 'dWaa = gradients["dWaa"]'),
        ("da[:, :, t] + da_prevt", "da[:, :, -1] + da_prevt"),
        ("da0 = da_prevt", "da0 = da[:, :, 0]"),
    ),
    *_of(
        "specialisation",
        "lstm_cell_forward",
        ("ft * c_prev + it * cct", "it * c_prev + ft * cct"),
        ("cct = np.tanh(", "cct = sigmoid("),
        ("ot * np.tanh(c_next)", "ot * c_next"),
        ("(a_prev, xt)", "(xt, a_prev)"),
    ),
    *_of(
        "specialisation",
        "lstm_cell_backward",
        ("dc_next + ot * (1 - np.tanh(c_next) ** 2) * da_next", "dc_next + ot * (1 - c_next ** 2) * da_next"),
        ("dc_next + ot * (1 - np.tanh(c_next) ** 2) * da_next", "ot * (1 - np.tanh(c_next) ** 2) * da_next"),
        ("da_next * np.tanh(c_next) * ot * (1 - ot)", "da_next * c_next * ot * (1 - ot)"),
        ("dcct = dc * it * (1 - cct ** 2)", "dcct = dc * it * (1 - cct) ** 2"),
        ("dcct = dc * it", "dcct = dc * ft"),
        ("dit = dc * cct * it * (1 - it)", "dit = dc * cct * it"),
        ("dft = dc * c_prev", "dft = dc * c_next"),
        ("dft = dc * c_prev", "dft = dc_next * c_prev"),
        ("np.dot(dft, concat.T)", "np.dot(dit, concat.T)"),
        ("np.sum(dcct, axis=1", "np.sum(dcct, axis=0"),
        ("np.dot(Wc.T, dcct)", "np.dot(Wo.T, dcct)"),
        (" + np.dot(Wo.T, dot)", ""),
        ("dboth[:n_a]", "dboth[n_a:]"),
        ("dc_prev = dc * ft", "dc_prev = dc_next * ft"),
        ("dc_prev = dc * ft", "dc_prev = dc * it"),
    ),
    *_of("specialisation", "lstm_forward", ("c[:, :, t] = c_next", "c[:, :, t] = a_next")),
    *_of(
        "specialisation",
        "lstm_backward",
        ("da[:, :, t] + da_prevt, dc_prevt", "da[:, :, t], dc_prevt"),
        ('dc_prevt = gradients["dc_prev"]', "pass"),
        ("total.get(name, 0) + gradients", "gradients"),
        ('da_prevt = gradients["da_prev"]', 'da_prevt += gradients["da_prev"]'),
    ),
    # ------------------------------------------------------------------ CMU
    *_of("cmu", "RNNCell.forward", (" + self.b_hh", ""), ("self.W_hh.T", "self.W_hh")),
    *_of(
        "cmu",
        "RNNCell.backward",
        ("dz.T @ h_prev_l / batch_size", "dz.T @ h_prev_l"),
        ("dz.T @ h_prev_t / batch_size", "dz.T @ h_t / batch_size"),
        ("dz.sum(axis=0) / batch_size", "dz.sum(axis=1) / batch_size"),
        ("dz @ self.W_ih", "delta @ self.W_ih"),
        ("dz @ self.W_hh", "dz @ self.W_hh.T"),
        ("delta * self.activation.backward(state=h_t)", "self.activation.backward(state=h_t)"),
    ),
    *_of(
        "cmu",
        "GRUCell.forward",
        ("(1 - self.z) * self.n + self.z * h_prev_t", "self.z * self.n + (1 - self.z) * h_prev_t"),
        ("self.inner = self.Wnh @ h_prev_t + self.bnh", "self.inner = self.Wnh @ h_prev_t"),
    ),
    *_of(
        "cmu",
        "GRUCell.backward",
        ("(self.hidden - self.n)", "(self.n - self.hidden)"),
        ("dn = delta * (1 - self.z)", "dn = delta * self.z"),
        ("(1 - self.n ** 2)", "(1 - self.n)"),
        ("dr = da_n * self.inner", "dr = da_n * self.hidden"),
        ("self.r * (1 - self.r)", "self.r * (1 + self.r)"),
        ("da_z = dz * self.z * (1 - self.z)", "da_z = dz * self.z"),
        ("d_inner = da_n * self.r", "d_inner = da_n"),
        ("np.outer(da_r, self.x)", "np.outer(da_z, self.x)"),
        ("self.dWnh += np.outer(d_inner, self.hidden)", "self.dWnh += np.outer(da_n, self.hidden)"),
        ("self.dbnh += d_inner", "self.dbnh += da_n"),
        ("self.dbrh += da_r", "self.dbrh -= da_r"),
        (" + self.Wnh.T @ d_inner", ""),
        ("dh_prev_t += delta * self.z", "dh_prev_t += delta * (1 - self.z)"),
        ("dh_prev_t += delta * self.z", "pass"),
    ),
    *(Mistake("ctc", *one) for one in CTC_MISTAKES),
    # ------------------------------------------------------------------ d2l
    *_of("d2l gru", "get_params", ("np.zeros(num_hiddens),\n", "np.zeros(vocab_size),\n")),
    *_of("d2l gru", "init_gru_state", ("np.zeros((batch_size, num_hiddens)),", "np.ones((batch_size, num_hiddens)),")),
    *_of(
        "d2l gru",
        "gru",
        ("Z * H + (1 - Z) * H_tilde", "Z * H_tilde + (1 - Z) * H"),
        ("(R * H) @ W_hh", "R * (H @ W_hh)"),
        ("Z = sigmoid(X @ W_xz + H @ W_hz + b_z)", "Z = sigmoid(X @ W_xz + H @ W_hz)"),
        ("np.tanh(X @ W_xh", "sigmoid(X @ W_xh"),
        ("R = sigmoid(X @ W_xr + H @ W_hr", "R = sigmoid(X @ W_xr + H @ W_hz"),
        ("Y = H @ W_hq", "Y = H_tilde @ W_hq"),
    ),
    *_of(
        "d2l lstm",
        "lstm",
        ("F * C + I * C_tilde", "I * C + F * C_tilde"),
        ("H = O * np.tanh(C)", "H = O * C"),
        ("np.tanh(X @ W_xc", "sigmoid(X @ W_xc"),
        ("I = sigmoid(X @ W_xi", "I = sigmoid(X @ W_xf"),
        ("H = O * np.tanh(C)", "H = np.tanh(C)"),
        ("(H, C) = state", "(C, H) = state"),
    ),
    # ------------------------------------------------------------------ cells in minirnn's protocol
    *_of("own", "Leaky", ("(0.5 * dh1,)", "(dh1,)"), ("(1 - n * n)", "(1 - n)")),
]
