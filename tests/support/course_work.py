"""What students of courses hand in, right: written for these tests, in each course's signatures."""

from course_ctc import CTC
from course_styles import GATES_IN_BLOCKS, LATTICE, LISTS_AND_DICTS
from course_vectors import CTC_IN_ROWS, D2L_WITH_HELPERS, GRU_IN_STEPS, SEVERAL_LINES

HEAD = """import numpy as np


def sigmoid(a):
    return 1 / (1 + np.exp(-a))

"""

CS231N = (
    HEAD
    + """
def word_embedding_forward(x, W):
    out = W[x]
    cache = (x, W.shape)
    return out, cache


def word_embedding_backward(dout, cache):
    x, shape = cache
    dW = np.zeros(shape)
    np.add.at(dW, x, dout)
    return dW


def temporal_affine_forward(x, w, b):
    N, T, D = x.shape
    M = b.shape[0]
    out = x.reshape(N * T, D).dot(w).reshape(N, T, M) + b
    return out, (x, w, b)


def temporal_affine_backward(dout, cache):
    x, w, b = cache
    N, T, D = x.shape
    M = b.shape[0]
    flat = dout.reshape(N * T, M)
    dx = flat.dot(w.T).reshape(N, T, D)
    dw = x.reshape(N * T, D).T.dot(flat)
    db = flat.sum(axis=0)
    return dx, dw, db


def temporal_softmax_loss(x, y, mask, verbose=False):
    N, T, V = x.shape
    scores, labels, weights = x.reshape(N * T, V), y.reshape(N * T), mask.reshape(N * T)
    e = np.exp(scores - scores.max(axis=1, keepdims=True))
    probs = e / e.sum(axis=1, keepdims=True)
    picked = probs[np.arange(N * T), labels]
    loss = -np.sum(weights * np.log(picked)) / N
    dscores = probs.copy()
    dscores[np.arange(N * T), labels] -= 1
    dscores /= N
    dscores *= weights[:, None]
    return loss, dscores.reshape(N, T, V)


def rnn_step_forward(x, prev_h, Wx, Wh, b):
    next_h = np.tanh(x.dot(Wx) + prev_h.dot(Wh) + b)
    cache = (x, prev_h, Wx, Wh, next_h)
    return next_h, cache


def rnn_step_backward(dnext_h, cache):
    x, prev_h, Wx, Wh, next_h = cache
    da = dnext_h * (1 - next_h ** 2)
    dx = da.dot(Wx.T)
    dprev_h = da.dot(Wh.T)
    dWx = x.T.dot(da)
    dWh = prev_h.T.dot(da)
    db = da.sum(axis=0)
    return dx, dprev_h, dWx, dWh, db


def rnn_forward(x, h0, Wx, Wh, b):
    N, T, D = x.shape
    h = np.zeros((N, T, h0.shape[1]))
    caches = []
    prev = h0
    for t in range(T):
        prev, one = rnn_step_forward(x[:, t, :], prev, Wx, Wh, b)
        h[:, t, :] = prev
        caches.append(one)
    return h, caches


def rnn_backward(dh, caches):
    N, T, H = dh.shape
    D = caches[0][0].shape[1]
    dx = np.zeros((N, T, D))
    dWx, dWh, db = np.zeros((D, H)), np.zeros((H, H)), np.zeros(H)
    dprev = np.zeros((N, H))
    for t in reversed(range(T)):
        dx[:, t, :], dprev, dWx_t, dWh_t, db_t = rnn_step_backward(dh[:, t, :] + dprev, caches[t])
        dWx += dWx_t
        dWh += dWh_t
        db += db_t
    return dx, dprev, dWx, dWh, db


def lstm_step_forward(x, prev_h, prev_c, Wx, Wh, b):
    H = prev_h.shape[1]
    a = x.dot(Wx) + prev_h.dot(Wh) + b
    i = sigmoid(a[:, :H])
    f = sigmoid(a[:, H:2 * H])
    o = sigmoid(a[:, 2 * H:3 * H])
    g = np.tanh(a[:, 3 * H:])
    next_c = f * prev_c + i * g
    tanh_c = np.tanh(next_c)
    next_h = o * tanh_c
    return next_h, next_c, (x, prev_h, prev_c, Wx, Wh, i, f, o, g, tanh_c)


def lstm_step_backward(dnext_h, dnext_c, cache):
    x, prev_h, prev_c, Wx, Wh, i, f, o, g, tanh_c = cache
    do = dnext_h * tanh_c
    dc = dnext_c + dnext_h * o * (1 - tanh_c ** 2)
    df = dc * prev_c
    di = dc * g
    dg = dc * i
    dprev_c = dc * f
    da_i = di * i * (1 - i)
    da_f = df * f * (1 - f)
    da_o = do * o * (1 - o)
    da_g = dg * (1 - g ** 2)
    da = np.hstack((da_i, da_f, da_o, da_g))
    dx = da.dot(Wx.T)
    dprev_h = da.dot(Wh.T)
    dWx = x.T.dot(da)
    dWh = prev_h.T.dot(da)
    db = da.sum(axis=0)
    return dx, dprev_h, dprev_c, dWx, dWh, db


def lstm_forward(x, h0, Wx, Wh, b):
    N, T, D = x.shape
    h = np.zeros((N, T, h0.shape[1]))
    cache = []
    prev, c = h0, np.zeros_like(h0)
    for t in range(T):
        prev, c, one = lstm_step_forward(x[:, t, :], prev, c, Wx, Wh, b)
        h[:, t, :] = prev
        cache.append(one)
    return h, cache


def lstm_backward(dh, cache):
    N, T, H = dh.shape
    dprev, dc = np.zeros((N, H)), np.zeros((N, H))
    dx, dWx, dWh, db = [], 0, 0, 0
    for t in range(T - 1, -1, -1):
        dx_t, dprev, dc, dWx_t, dWh_t, db_t = lstm_step_backward(dh[:, t, :] + dprev, dc, cache[t])
        dx.insert(0, dx_t)
        dWx = dWx + dWx_t
        dWh = dWh + dWh_t
        db = db + db_t
    return np.stack(dx, axis=1), dprev, dWx, dWh, db
"""
)

SPECIALISATION = (
    HEAD
    + """
def softmax(a):
    e = np.exp(a - np.max(a))
    return e / e.sum(axis=0)


def rnn_cell_forward(xt, a_prev, parameters):
    Wax, Waa, Wya = parameters["Wax"], parameters["Waa"], parameters["Wya"]
    ba, by = parameters["ba"], parameters["by"]
    a_next = np.tanh(np.dot(Waa, a_prev) + np.dot(Wax, xt) + ba)
    yt_pred = softmax(np.dot(Wya, a_next) + by)
    cache = (a_next, a_prev, xt, parameters)
    return a_next, yt_pred, cache


def rnn_cell_backward(da_next, cache):
    (a_next, a_prev, xt, parameters) = cache
    Wax, Waa = parameters["Wax"], parameters["Waa"]
    dtanh = (1 - a_next ** 2) * da_next
    dxt = np.dot(Wax.T, dtanh)
    dWax = np.dot(dtanh, xt.T)
    da_prev = np.dot(Waa.T, dtanh)
    dWaa = np.dot(dtanh, a_prev.T)
    dba = np.sum(dtanh, axis=1, keepdims=True)
    return {"dxt": dxt, "da_prev": da_prev, "dWax": dWax, "dWaa": dWaa, "dba": dba}


def rnn_forward(x, a0, parameters):
    n_x, m, T_x = x.shape
    n_y, n_a = parameters["Wya"].shape
    a = np.zeros((n_a, m, T_x))
    y_pred = np.zeros((n_y, m, T_x))
    a_next = a0
    caches = []
    for t in range(T_x):
        a_next, yt_pred, cache = rnn_cell_forward(x[:, :, t], a_next, parameters)
        a[:, :, t] = a_next
        y_pred[:, :, t] = yt_pred
        caches.append(cache)
    return a, y_pred, (caches, x)


def rnn_backward(da, caches):
    (caches, x) = caches
    n_a, m, T_x = da.shape
    n_x = x.shape[0]
    dx = np.zeros((n_x, m, T_x))
    dWax, dWaa, dba = np.zeros((n_a, n_x)), np.zeros((n_a, n_a)), np.zeros((n_a, 1))
    da_prevt = np.zeros((n_a, m))
    for t in reversed(range(T_x)):
        gradients = rnn_cell_backward(da[:, :, t] + da_prevt, caches[t])
        dx[:, :, t] = gradients["dxt"]
        da_prevt = gradients["da_prev"]
        dWax += gradients["dWax"]
        dWaa += gradients["dWaa"]
        dba += gradients["dba"]
    da0 = da_prevt
    return {"dx": dx, "da0": da0, "dWax": dWax, "dWaa": dWaa, "dba": dba}


def lstm_cell_forward(xt, a_prev, c_prev, parameters):
    Wf, bf = parameters["Wf"], parameters["bf"]
    Wi, bi = parameters["Wi"], parameters["bi"]
    Wc, bc = parameters["Wc"], parameters["bc"]
    Wo, bo = parameters["Wo"], parameters["bo"]
    Wy, by = parameters["Wy"], parameters["by"]
    concat = np.concatenate((a_prev, xt), axis=0)
    ft = sigmoid(np.dot(Wf, concat) + bf)
    it = sigmoid(np.dot(Wi, concat) + bi)
    cct = np.tanh(np.dot(Wc, concat) + bc)
    c_next = ft * c_prev + it * cct
    ot = sigmoid(np.dot(Wo, concat) + bo)
    a_next = ot * np.tanh(c_next)
    yt_pred = softmax(np.dot(Wy, a_next) + by)
    cache = (a_next, c_next, a_prev, c_prev, ft, it, cct, ot, xt, parameters)
    return a_next, c_next, yt_pred, cache


def lstm_cell_backward(da_next, dc_next, cache):
    (a_next, c_next, a_prev, c_prev, ft, it, cct, ot, xt, parameters) = cache
    n_a, m = a_next.shape
    dc = dc_next + ot * (1 - np.tanh(c_next) ** 2) * da_next
    dot = da_next * np.tanh(c_next) * ot * (1 - ot)
    dcct = dc * it * (1 - cct ** 2)
    dit = dc * cct * it * (1 - it)
    dft = dc * c_prev * ft * (1 - ft)
    concat = np.concatenate((a_prev, xt), axis=0)
    dWf = np.dot(dft, concat.T)
    dWi = np.dot(dit, concat.T)
    dWc = np.dot(dcct, concat.T)
    dWo = np.dot(dot, concat.T)
    dbf = np.sum(dft, axis=1, keepdims=True)
    dbi = np.sum(dit, axis=1, keepdims=True)
    dbc = np.sum(dcct, axis=1, keepdims=True)
    dbo = np.sum(dot, axis=1, keepdims=True)
    Wf, Wi, Wc, Wo = parameters["Wf"], parameters["Wi"], parameters["Wc"], parameters["Wo"]
    dboth = np.dot(Wf.T, dft) + np.dot(Wi.T, dit) + np.dot(Wc.T, dcct) + np.dot(Wo.T, dot)
    da_prev = dboth[:n_a]
    dxt = dboth[n_a:]
    dc_prev = dc * ft
    gradients = {"dxt": dxt, "da_prev": da_prev, "dc_prev": dc_prev, "dWf": dWf, "dbf": dbf, "dWi": dWi}
    gradients.update({"dbi": dbi, "dWc": dWc, "dbc": dbc, "dWo": dWo, "dbo": dbo})
    return gradients


def lstm_forward(x, a0, parameters):
    n_x, m, T_x = x.shape
    n_y, n_a = parameters["Wy"].shape
    a, c = np.zeros((n_a, m, T_x)), np.zeros((n_a, m, T_x))
    y = np.zeros((n_y, m, T_x))
    a_next = a0
    c_next = np.zeros((n_a, m))
    caches = []
    for t in range(T_x):
        a_next, c_next, yt, cache = lstm_cell_forward(x[:, :, t], a_next, c_next, parameters)
        a[:, :, t] = a_next
        c[:, :, t] = c_next
        y[:, :, t] = yt
        caches.append(cache)
    return a, y, c, (caches, x)


def lstm_backward(da, caches):
    (caches, x) = caches
    n_a, m, T_x = da.shape
    dx = np.zeros((x.shape[0], m, T_x))
    da_prevt, dc_prevt = np.zeros((n_a, m)), np.zeros((n_a, m))
    total = {}
    for t in reversed(range(T_x)):
        gradients = lstm_cell_backward(da[:, :, t] + da_prevt, dc_prevt, caches[t])
        da_prevt = gradients["da_prev"]
        dc_prevt = gradients["dc_prev"]
        dx[:, :, t] = gradients["dxt"]
        for name in ("dWf", "dbf", "dWi", "dbi", "dWc", "dbc", "dWo", "dbo"):
            total[name] = total.get(name, 0) + gradients[name]
    return {"dx": dx, "da0": da_prevt, **total}
"""
)

CMU = (
    HEAD
    + """
class Tanh:
    def forward(self, a):
        self.A = np.tanh(a)
        return self.A

    def backward(self, state=None):
        return 1 - (self.A if state is None else state) ** 2


class RNNCell:
    def __init__(self, input_size, hidden_size):
        self.activation = Tanh()
        self.W_ih = np.random.randn(hidden_size, input_size)
        self.W_hh = np.random.randn(hidden_size, hidden_size)
        self.b_ih = np.random.randn(hidden_size)
        self.b_hh = np.random.randn(hidden_size)
        self.dW_ih = np.zeros((hidden_size, input_size))
        self.dW_hh = np.zeros((hidden_size, hidden_size))
        self.db_ih = np.zeros(hidden_size)
        self.db_hh = np.zeros(hidden_size)

    def forward(self, x, h_prev_t):
        z = x @ self.W_ih.T + self.b_ih + h_prev_t @ self.W_hh.T + self.b_hh
        return self.activation.forward(z)

    def backward(self, delta, h_t, h_prev_l, h_prev_t):
        batch_size = delta.shape[0]
        dz = delta * self.activation.backward(state=h_t)
        self.dW_ih += dz.T @ h_prev_l / batch_size
        self.dW_hh += dz.T @ h_prev_t / batch_size
        self.db_ih += dz.sum(axis=0) / batch_size
        self.db_hh += dz.mean(axis=0)
        dx = dz @ self.W_ih
        dh_prev_t = dz @ self.W_hh
        return dx, dh_prev_t


class GRUCell:
    def __init__(self, input_size, hidden_size):
        self.d, self.h = input_size, hidden_size
        for gate in "rzn":
            for source, size in (("x", input_size), ("h", hidden_size)):
                setattr(self, f"W{gate}{source}", np.random.randn(hidden_size, size))
                setattr(self, f"b{gate}{source}", np.random.randn(hidden_size))
                setattr(self, f"dW{gate}{source}", np.zeros((hidden_size, size)))
                setattr(self, f"db{gate}{source}", np.zeros(hidden_size))

    def forward(self, x, h_prev_t):
        self.x = x
        self.hidden = h_prev_t
        self.r = sigmoid(self.Wrx @ x + self.brx + self.Wrh @ h_prev_t + self.brh)
        self.z = sigmoid(self.Wzx @ x + self.bzx + self.Wzh @ h_prev_t + self.bzh)
        self.inner = self.Wnh @ h_prev_t + self.bnh
        self.n = np.tanh(self.Wnx @ x + self.bnx + self.r * self.inner)
        h_t = (1 - self.z) * self.n + self.z * h_prev_t
        return h_t

    def backward(self, delta):
        dz = delta * (self.hidden - self.n)
        dn = delta * (1 - self.z)
        da_n = dn * (1 - self.n ** 2)
        dr = da_n * self.inner
        da_r = dr * self.r * (1 - self.r)
        da_z = dz * self.z * (1 - self.z)
        d_inner = da_n * self.r
        self.dWrx += np.outer(da_r, self.x)
        self.dWzx += np.outer(da_z, self.x)
        self.dWnx += np.outer(da_n, self.x)
        self.dWrh += np.outer(da_r, self.hidden)
        self.dWzh += np.outer(da_z, self.hidden)
        self.dWnh += np.outer(d_inner, self.hidden)
        self.dbrx += da_r
        self.dbzx += da_z
        self.dbnx += da_n
        self.dbrh += da_r
        self.dbzh += da_z
        self.dbnh += d_inner
        dx = self.Wrx.T @ da_r + self.Wzx.T @ da_z + self.Wnx.T @ da_n
        dh_prev_t = self.Wrh.T @ da_r + self.Wzh.T @ da_z + self.Wnh.T @ d_inner
        dh_prev_t += delta * self.z
        return dx, dh_prev_t
"""
)

D2L_GRU = (
    HEAD
    + """
def get_params(vocab_size, num_hiddens, device=None):
    def three():
        return (
            np.random.randn(vocab_size, num_hiddens) * 0.01,
            np.random.randn(num_hiddens, num_hiddens) * 0.01,
            np.zeros(num_hiddens),
        )

    return [*three(), *three(), *three(), np.random.randn(num_hiddens, vocab_size) * 0.01, np.zeros(vocab_size)]


def init_gru_state(batch_size, num_hiddens, device):
    return (np.zeros((batch_size, num_hiddens)),)


def gru(inputs, state, params):
    W_xz, W_hz, b_z, W_xr, W_hr, b_r, W_xh, W_hh, b_h, W_hq, b_q = params
    (H,) = state
    outputs = []
    for X in inputs:
        Z = sigmoid(X @ W_xz + H @ W_hz + b_z)
        R = sigmoid(X @ W_xr + H @ W_hr + b_r)
        H_tilde = np.tanh(X @ W_xh + (R * H) @ W_hh + b_h)
        H = Z * H + (1 - Z) * H_tilde
        Y = H @ W_hq + b_q
        outputs.append(Y)
    return np.concatenate(outputs, axis=0), (H,)
"""
)

D2L_LSTM = (
    HEAD
    + """
def get_params(vocab_size, num_hiddens, device=None):
    params = []
    for _ in range(4):
        params.append(np.random.randn(vocab_size, num_hiddens) * 0.01)
        params.append(np.random.randn(num_hiddens, num_hiddens) * 0.01)
        params.append(np.zeros(num_hiddens))
    params.append(np.random.randn(num_hiddens, vocab_size) * 0.01)
    params.append(np.zeros(vocab_size))
    return params


def init_lstm_state(batch_size, num_hiddens, device):
    return (np.zeros((batch_size, num_hiddens)), np.zeros((batch_size, num_hiddens)))


def lstm(inputs, state, params):
    W_xi, W_hi, b_i, W_xf, W_hf, b_f, W_xo, W_ho, b_o, W_xc, W_hc, b_c, W_hq, b_q = params
    (H, C) = state
    outputs = []
    for X in inputs:
        I = sigmoid(X @ W_xi + H @ W_hi + b_i)
        F = sigmoid(X @ W_xf + H @ W_hf + b_f)
        O = sigmoid(X @ W_xo + H @ W_ho + b_o)
        C_tilde = np.tanh(X @ W_xc + H @ W_hc + b_c)
        C = F * C + I * C_tilde
        H = O * np.tanh(C)
        Y = H @ W_hq + b_q
        outputs.append(Y)
    return np.concatenate(outputs, axis=0), (H, C)
"""
)

OWN = (
    HEAD
    + """
class Leaky:
    state, gates, saves = ("h",), ("n",), ("n",)

    @staticmethod
    def step(p, q, state):
        (h,) = state
        n = np.tanh(p + q)
        return (0.5 * h + n,), (n,)

    @staticmethod
    def unstep(dstate, saved):
        (dh1,), (n,) = dstate, saved
        da = dh1 * (1 - n * n)
        return da, da, (0.5 * dh1,)
"""
)

RIGHT = {
    "cs231n": CS231N,
    "specialisation": SPECIALISATION,
    "cmu": CMU,
    "ctc": CTC,
    "d2l gru": D2L_GRU,
    "d2l lstm": D2L_LSTM,
    "own": OWN,
    "gates in blocks": GATES_IN_BLOCKS,
    "lists and dicts": LISTS_AND_DICTS,
    "lattice": LATTICE,
    "several lines": SEVERAL_LINES,
    "gru in steps": GRU_IN_STEPS,
    "ctc in rows": CTC_IN_ROWS,
    "d2l with helpers": D2L_WITH_HELPERS,
}
