"""Right solutions of course functions in whole arrays, in statements of several lines, and in the textbook's steps."""

SEVERAL_LINES = """
import numpy as np


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def softmax(a):
    e = np.exp(a - np.max(a, axis=0, keepdims=True))
    return e / np.sum(e, axis=0, keepdims=True)


def lstm_cell_forward(xt, a_prev, c_prev, parameters):
    n_a = a_prev.shape[0]
    concat = np.zeros((n_a + xt.shape[0], xt.shape[1]))
    concat[:n_a, :] = a_prev
    concat[n_a:, :] = xt
    ft = sigmoid(parameters["Wf"] @ concat + parameters["bf"])
    it = sigmoid(parameters["Wi"] @ concat + parameters["bi"])
    cct = np.tanh(parameters["Wc"] @ concat + parameters["bc"])
    c_next = ft * c_prev + it * cct
    ot = sigmoid(parameters["Wo"] @ concat + parameters["bo"])
    a_next = ot * np.tanh(c_next)
    yt_pred = softmax(parameters["Wy"] @ a_next + parameters["by"])
    cache = (a_next, c_next, a_prev, c_prev, ft, it, cct, ot, xt, parameters)
    return a_next, c_next, yt_pred, cache


def lstm_cell_backward(da_next, dc_next, cache):
    (a_next, c_next, a_prev, c_prev, ft, it, cct, ot, xt, parameters) = cache
    n_a = a_next.shape[0]
    tc = np.tanh(c_next)
    dot = da_next * tc * ot * (1 - ot)
    dcct = (
        dc_next * it
        + ot * (1 - tc ** 2) * it * da_next
    ) * (1 - cct ** 2)
    dit = (
        dc_next * cct
        + ot * (1 - tc ** 2) * cct * da_next
    ) * it * (1 - it)
    dft = (
        dc_next * c_prev
        + ot * (1 - tc ** 2) * c_prev * da_next
    ) * ft * (1 - ft)
    dWf = np.dot(dft, np.hstack([a_prev.T, xt.T]))
    dWi = np.dot(dit, np.hstack([a_prev.T, xt.T]))
    dWc = np.dot(dcct, np.hstack([a_prev.T, xt.T]))
    dWo = np.dot(dot, np.hstack([a_prev.T, xt.T]))
    dbf = np.sum(dft, axis=1, keepdims=True)
    dbi = np.sum(dit, axis=1, keepdims=True)
    dbc = np.sum(dcct, axis=1, keepdims=True)
    dbo = np.sum(dot, axis=1, keepdims=True)
    da_prev = (
        np.dot(parameters["Wf"][:, :n_a].T, dft)
        + np.dot(parameters["Wi"][:, :n_a].T, dit)
        + np.dot(parameters["Wc"][:, :n_a].T, dcct)
        + np.dot(parameters["Wo"][:, :n_a].T, dot)
    )
    dc_prev = dc_next * ft + ot * (1 - tc ** 2) * ft * da_next
    dxt = (
        np.dot(parameters["Wf"][:, n_a:].T, dft)
        + np.dot(parameters["Wi"][:, n_a:].T, dit)
        + np.dot(parameters["Wc"][:, n_a:].T, dcct)
        + np.dot(parameters["Wo"][:, n_a:].T, dot)
    )
    return {
        "dxt": dxt, "da_prev": da_prev, "dc_prev": dc_prev, "dWf": dWf, "dbf": dbf, "dWi": dWi, "dbi": dbi,
        "dWc": dWc, "dbc": dbc, "dWo": dWo, "dbo": dbo,
    }
"""

GRU_IN_STEPS = """
import numpy as np


class Sigmoid:
    def forward(self, x):
        self.out = 1 / (1 + np.exp(-x))
        return self.out

    def backward(self):
        return self.out * (1 - self.out)


class Tanh:
    def forward(self, x):
        self.out = np.tanh(x)
        return self.out

    def backward(self):
        return 1 - self.out ** 2


class GRUCell:
    def __init__(self, in_dim, hidden_dim):
        self.d, self.h = in_dim, hidden_dim
        self.Wzh = np.random.randn(hidden_dim, hidden_dim)
        self.Wrh = np.random.randn(hidden_dim, hidden_dim)
        self.Wnh = np.random.randn(hidden_dim, hidden_dim)
        self.Wzx = np.random.randn(hidden_dim, in_dim)
        self.Wrx = np.random.randn(hidden_dim, in_dim)
        self.Wnx = np.random.randn(hidden_dim, in_dim)
        self.bzx, self.brx, self.bnx = np.random.randn(3, hidden_dim)
        self.bzh, self.brh, self.bnh = np.random.randn(3, hidden_dim)
        self.dWzh, self.dWrh, self.dWnh = np.zeros((3, hidden_dim, hidden_dim))
        self.dWzx, self.dWrx, self.dWnx = np.zeros((3, hidden_dim, in_dim))
        self.dbzx, self.dbrx, self.dbnx = np.zeros((3, hidden_dim))
        self.dbzh, self.dbrh, self.dbnh = np.zeros((3, hidden_dim))
        self.r_act, self.z_act, self.h_act = Sigmoid(), Sigmoid(), Tanh()

    def forward(self, x, h_prev_t):
        self.x = x
        self.state = h_prev_t
        self.z1 = np.dot(self.Wrx, x) + self.brx
        self.z2 = np.dot(self.Wrh, h_prev_t) + self.brh
        self.r = self.r_act.forward(self.z1 + self.z2)
        self.z3 = np.dot(self.Wzx, x) + self.bzx
        self.z4 = np.dot(self.Wzh, h_prev_t) + self.bzh
        self.z = self.z_act.forward(self.z3 + self.z4)
        self.z5 = np.dot(self.Wnx, x) + self.bnx
        self.z6 = np.dot(self.Wnh, h_prev_t) + self.bnh
        self.n = self.h_act.forward(self.z5 + self.r * self.z6)
        hidden = (1 - self.z) * self.n + self.z * self.state
        self.hidden = hidden
        return hidden

    def backward(self, delta):
        delta = delta.reshape(-1)
        dx = np.zeros(self.d)
        dh_prev_t = np.zeros(self.h)
        dz = delta * (self.state - self.n)
        dn = delta * (1 - self.z)
        dh_prev_t += delta * self.z
        dtan = dn * self.h_act.backward()
        self.dWnx += np.outer(dtan, self.x)
        self.dbnx += dtan
        dx += np.dot(dtan, self.Wnx)
        dr = dtan * self.z6
        dz6 = dtan * self.r
        self.dWnh += np.outer(dz6, self.state)
        self.dbnh += dz6
        dh_prev_t += np.dot(dz6, self.Wnh)
        dsz = dz * self.z_act.backward()
        self.dWzx += np.outer(dsz, self.x)
        self.dbzx += dsz
        self.dWzh += np.outer(dsz, self.state)
        self.dbzh += dsz
        dx += np.dot(dsz, self.Wzx)
        dh_prev_t += np.dot(dsz, self.Wzh)
        dsr = dr * self.r_act.backward()
        self.dWrx += np.outer(dsr, self.x)
        self.dbrx += dsr
        self.dWrh += np.outer(dsr, self.state)
        self.dbrh += dsr
        dx += np.dot(dsr, self.Wrx)
        dh_prev_t += np.dot(dsr, self.Wrh)
        return dx, dh_prev_t
"""

CTC_IN_ROWS = """
import numpy as np


class CTC:
    def __init__(self, BLANK=0):
        self.BLANK = BLANK

    def extend_target_with_blank(self, target):
        extended_symbols = np.zeros(2 * len(target) + 1, dtype=int) + self.BLANK
        extended_symbols[1::2] = target
        skip_connect = np.zeros(len(extended_symbols), dtype=int)
        for k in range(1, len(target)):
            if target[k] != target[k - 1]:
                skip_connect[2 * k + 1] = 1
        return extended_symbols, skip_connect

    def get_forward_probs(self, logits, extended_symbols, skip_connect):
        y = logits[:, extended_symbols]
        alpha = np.zeros(y.shape)
        alpha[0, :2] = y[0, :2]
        for t in range(1, len(y)):
            alpha[t] = alpha[t - 1]
            alpha[t, 1:] += alpha[t - 1, :-1]
            alpha[t, 2:] += alpha[t - 1, :-2] * skip_connect[2:]
            alpha[t] *= y[t]
        return alpha

    def get_backward_probs(self, logits, extended_symbols, skip_connect):
        y = logits[:, extended_symbols]
        T, S = y.shape
        beta = np.zeros((T, S))
        beta[-1, -2:] = 1
        for t in range(T - 2, -1, -1):
            later = beta[t + 1] * y[t + 1]
            beta[t] = later
            beta[t, :-1] += later[1:]
            beta[t, :-2] += later[2:] * skip_connect[2:]
        return beta

    def get_posterior_probs(self, alpha, beta):
        gamma = alpha * beta
        gamma /= gamma.sum(axis=1)[:, None]
        return gamma


class CTCLoss:
    def __init__(self, BLANK=0):
        self.BLANK = BLANK
        self.ctc = CTC(BLANK)

    def forward(self, logits, target, input_lengths, target_lengths):
        self.logits = logits
        self.target = target
        self.input_lengths = input_lengths
        self.target_lengths = target_lengths
        B = target.shape[0]
        self.gammas, self.symbols = [], []
        total_loss = np.zeros(B)
        for b in range(B):
            trimmed_target = target[b, :target_lengths[b]]
            trimmed_logits = logits[:input_lengths[b], b, :]
            symbols, skips = self.ctc.extend_target_with_blank(trimmed_target)
            alpha = self.ctc.get_forward_probs(trimmed_logits, symbols, skips)
            beta = self.ctc.get_backward_probs(trimmed_logits, symbols, skips)
            gamma = self.ctc.get_posterior_probs(alpha, beta)
            self.gammas.append(gamma)
            self.symbols.append(symbols)
            for s in range(gamma.shape[1]):
                total_loss[b] -= np.sum(gamma[:, s] * np.log(trimmed_logits[:, symbols[s]]))
        return total_loss.mean()

    def backward(self):
        dY = np.zeros_like(self.logits)
        for b in range(self.target.shape[0]):
            n = self.input_lengths[b]
            gamma = self.gammas[b]
            symbols = self.symbols[b]
            for s in range(len(symbols)):
                dY[:n, b, symbols[s]] -= gamma[:, s] / self.logits[:n, b, symbols[s]]
        return dY
"""

D2L_WITH_HELPERS = """
import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def get_params(vocab_size, num_hiddens, device=None):
    num_inputs = num_outputs = vocab_size

    def normal(shape):
        return np.random.normal(scale=0.01, size=shape)

    def three():
        return (normal((num_inputs, num_hiddens)), normal((num_hiddens, num_hiddens)), np.zeros(num_hiddens))

    params = []
    for _ in range(4):
        params.extend(three())
    W_hq = normal((num_hiddens, num_outputs))
    b_q = np.zeros(num_outputs)
    params += [W_hq, b_q]
    return params


def init_lstm_state(batch_size, num_hiddens, device=None):
    return (np.zeros((batch_size, num_hiddens)), np.zeros((batch_size, num_hiddens)))


def lstm(inputs, state, params):
    [W_xi, W_hi, b_i, W_xf, W_hf, b_f, W_xo, W_ho, b_o, W_xc, W_hc, b_c, W_hq, b_q] = params
    H, C = state
    outputs = []
    for X in inputs:
        I = sigmoid(np.dot(X, W_xi) + np.dot(H, W_hi) + b_i)
        F = sigmoid(np.dot(X, W_xf) + np.dot(H, W_hf) + b_f)
        O = sigmoid(np.dot(X, W_xo) + np.dot(H, W_ho) + b_o)
        C_tilda = np.tanh(np.dot(X, W_xc) + np.dot(H, W_hc) + b_c)
        C = F * C + I * C_tilda
        H = O * np.tanh(C)
        Y = np.dot(H, W_hq) + b_q
        outputs.append(Y)
    return np.concatenate(outputs, axis=0), (H, C)
"""
