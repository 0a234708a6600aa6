"""Right solutions of course functions in other styles than those of ``course_work``."""

GATES_IN_BLOCKS = """
import numpy as np

def rnn_step_forward(x, prev_h, Wx, Wh, b):
    next_h, cache = None, None
    forward = np.dot(prev_h, Wh) + np.dot(x, Wx) + b
    next_h = np.tanh(forward)
    cache = x, Wx, Wh, prev_h, next_h
    return next_h, cache


def rnn_step_backward(dnext_h, cache):
    x, Wx, Wh, prev_h, next_h = cache
    dforward = (1 - np.square(next_h)) * dnext_h
    dWh = np.dot(prev_h.T, dforward)
    dprev_h = np.dot(dforward, Wh.T)
    dWx = np.dot(x.T, dforward)
    dx = np.dot(dforward, Wx.T)
    db = np.sum(dforward, axis=0)
    return dx, dprev_h, dWx, dWh, db


def rnn_forward(x, h0, Wx, Wh, b):
    N, T, D = x.shape
    H = h0.shape[1]
    h = np.zeros((N, T, H))
    cache = {}
    x_tr = x.transpose(1, 0, 2)
    h_prev = h0
    for step in range(T):
        h[:, step], cache[step] = rnn_step_forward(x_tr[step], h_prev, Wx, Wh, b)
        h_prev = h[:, step]
    return h, cache


def rnn_backward(dh, cache):
    N, T, H = dh.shape
    x, Wx, Wh, prev_h, next_h = cache[T - 1]
    D = x.shape[1]
    dx = np.zeros((N, T, D))
    dWx = np.zeros_like(Wx)
    dWh = np.zeros_like(Wh)
    db = np.zeros(H)
    dh_prev = 0
    for step in range(T - 1, -1, -1):
        dcurrent = dh[:, step, :] + dh_prev
        dx_step, dh_prev, dwx_step, dwh_step, db_step = rnn_step_backward(dcurrent, cache[step])
        dx[:, step, :] = dx_step
        dWx += dwx_step
        dWh += dwh_step
        db += db_step
    dh0 = dh_prev
    return dx, dh0, dWx, dWh, db


def sigmoid(x):
    pos_mask = x >= 0
    neg_mask = x < 0
    z = np.zeros_like(x)
    z[pos_mask] = np.exp(-x[pos_mask])
    z[neg_mask] = np.exp(x[neg_mask])
    top = np.ones_like(x)
    top[neg_mask] = z[neg_mask]
    return top / (1 + z)


def lstm_step_forward(x, prev_h, prev_c, Wx, Wh, b):
    H = prev_h.shape[1]
    ifog = np.dot(x, Wx) + np.dot(prev_h, Wh) + b
    gates = ifog.copy()
    gates[:, :3 * H] = sigmoid(ifog[:, :3 * H])
    gates[:, 3 * H:] = np.tanh(ifog[:, 3 * H:])
    next_c = gates[:, H:2 * H] * prev_c + gates[:, :H] * gates[:, 3 * H:]
    next_h = gates[:, 2 * H:3 * H] * np.tanh(next_c)
    cache = (gates, next_c, prev_c, prev_h, x, Wx, Wh)
    return next_h, next_c, cache


def lstm_step_backward(dnext_h, dnext_c, cache):
    gates, next_c, prev_c, prev_h, x, Wx, Wh = cache
    H = prev_h.shape[1]
    i, f = gates[:, :H], gates[:, H:2 * H]
    o, g = gates[:, 2 * H:3 * H], gates[:, 3 * H:]
    t = np.tanh(next_c)
    dstate = dnext_c.copy()
    dstate += dnext_h * o * (1 - t * t)
    dgates = np.zeros_like(gates)
    dgates[:, :H] = dstate * g
    dgates[:, H:2 * H] = dstate * prev_c
    dgates[:, 2 * H:3 * H] = dnext_h * t
    dgates[:, 3 * H:] = dstate * i
    dprev_c = dstate * f
    sig = gates[:, :3 * H]
    dgates[:, :3 * H] *= sig * (1 - sig)
    dgates[:, 3 * H:] *= 1 - g * g
    db = np.sum(dgates, axis=0)
    dx = np.dot(dgates, Wx.T)
    dWx = np.dot(x.T, dgates)
    dprev_h = np.dot(dgates, Wh.T)
    dWh = np.dot(prev_h.T, dgates)
    return dx, dprev_h, dprev_c, dWx, dWh, db


def lstm_forward(x, h0, Wx, Wh, b):
    N, T, D = x.shape
    H = h0.shape[1]
    h = np.zeros((N, T, H))
    cache = {}
    state = {"h": h0, "c": np.zeros((N, H))}
    for k in range(T):
        state["h"], state["c"], cache[k] = lstm_step_forward(x[:, k], state["h"], state["c"], Wx, Wh, b)
        h[:, k] = state["h"]
    return h, cache


def lstm_backward(dh, cache):
    N, T, H = dh.shape
    x0, Wx0, Wh0 = cache[0][4:]
    grads = dict(x=np.zeros((N, T, x0.shape[1])), Wx=np.zeros(Wx0.shape), Wh=np.zeros(Wh0.shape), b=np.zeros(4 * H))
    dhidden = np.zeros((N, H))
    dcell = np.zeros((N, H))
    k = T - 1
    while k >= 0:
        out = lstm_step_backward(dhidden + dh[:, k], dcell, cache[k])
        grads["x"][:, k] = out[0]
        dhidden = out[1]
        dcell = out[2]
        grads["Wx"] += out[3]
        grads["Wh"] += out[4]
        grads["b"] += out[5]
        k -= 1
    return grads["x"], dhidden, grads["Wx"], grads["Wh"], grads["b"]


def temporal_softmax_loss(x, y, mask, verbose=False):
    N, T, V = x.shape
    shifted = x - np.max(x, axis=2, keepdims=True)
    Z = np.sum(np.exp(shifted), axis=2, keepdims=True)
    log_probs = shifted - np.log(Z)
    n, t = np.ogrid[:N, :T]
    loss = -(log_probs[n, t, y] * mask).sum() / N
    dx = np.exp(log_probs)
    dx[n, t, y] -= 1
    dx *= mask[:, :, np.newaxis] / N
    return loss, dx
"""

LISTS_AND_DICTS = """
import numpy as np


def rnn_step_forward(x, prev_h, Wx, Wh, b):
    act = x @ Wx
    act = act + prev_h @ Wh
    act = act + b
    next_h = np.tanh(act)
    return next_h, dict(x=x, h=prev_h, Wx=Wx, Wh=Wh, act=act)


def rnn_step_backward(dnext_h, cache):
    th = np.tanh(cache["act"])
    dact = dnext_h - dnext_h * th ** 2
    grads = {}
    for name, inp in (("Wx", cache["x"]), ("Wh", cache["h"])):
        grads[name] = inp.T @ dact
        grads["in_" + name] = dact @ cache[name].T
    grads["b"] = dact.sum(0)
    return grads["in_Wx"], grads["in_Wh"], grads["Wx"], grads["Wh"], grads["b"]


def rnn_forward(x, h0, Wx, Wh, b):
    hs, memory = [h0], []
    for xt in np.swapaxes(x, 0, 1):
        ht, c = rnn_step_forward(xt, hs[-1], Wx, Wh, b)
        hs.append(ht)
        memory.append(c)
    return np.stack(hs[1:], axis=1), memory


def rnn_backward(dh, cache):
    T = dh.shape[1]
    dxs = []
    dWx = dWh = db = 0
    dstate = np.zeros_like(dh[:, 0])
    for t, c in reversed(list(enumerate(cache))):
        dstate = dstate + dh[:, t]
        g = rnn_step_backward(dstate, c)
        dxs.append(g[0])
        dstate = g[1]
        dWx = dWx + g[2]
        dWh = dWh + g[3]
        db = db + g[4]
    dx = np.stack(dxs[::-1], axis=1)
    return dx, dstate, dWx, dWh, db
"""

LATTICE = """
import numpy as np


class CTC(object):
    def __init__(self, BLANK=0):
        self.BLANK = BLANK

    def extend_target_with_blank(self, target):
        n = len(target)
        ext = np.full(2 * n + 1, self.BLANK)
        for i in range(n):
            ext[2 * i + 1] = target[i]
        skip = np.zeros(2 * n + 1, dtype=int)
        for i in range(1, n):
            if target[i] != target[i - 1]:
                skip[2 * i + 1] = 1
        return ext, skip

    def get_forward_probs(self, logits, extended_symbols, skip_connect):
        S, T = len(extended_symbols), len(logits)
        alpha = np.zeros(shape=(T, S))
        alpha[0][0] = logits[0, extended_symbols[0]]
        alpha[0][1] = logits[0, extended_symbols[1]]
        for t in range(1, T):
            alpha[t][0] = alpha[t - 1][0] * logits[t, extended_symbols[0]]
            for i in range(1, S):
                alpha[t][i] = alpha[t - 1][i - 1] + alpha[t - 1][i]
                if i > 1 and skip_connect[i]:
                    alpha[t][i] += alpha[t - 1][i - 2]
                alpha[t][i] *= logits[t, extended_symbols[i]]
        return alpha

    def get_backward_probs(self, logits, extended_symbols, skip_connect):
        S, T = len(extended_symbols), len(logits)
        betahat = np.zeros((T, S))
        beta = np.zeros((T, S))
        betahat[T - 1, S - 1] = logits[T - 1, extended_symbols[S - 1]]
        betahat[T - 1, S - 2] = logits[T - 1, extended_symbols[S - 2]]
        for t in reversed(range(T - 1)):
            betahat[t, S - 1] = betahat[t + 1, S - 1] * logits[t, extended_symbols[S - 1]]
            for i in reversed(range(S - 1)):
                total = betahat[t + 1, i] + betahat[t + 1, i + 1]
                if i < S - 3 and skip_connect[i + 2]:
                    total += betahat[t + 1, i + 2]
                betahat[t, i] = total * logits[t, extended_symbols[i]]
        for t in range(T):
            for i in range(S):
                beta[t, i] = betahat[t, i] / logits[t, extended_symbols[i]]
        return beta

    def get_posterior_probs(self, alpha, beta):
        T, S = alpha.shape
        gamma = np.zeros((T, S))
        for t in range(T):
            norm = 0
            for i in range(S):
                gamma[t, i] = alpha[t, i] * beta[t, i]
                norm += gamma[t, i]
            for i in range(S):
                gamma[t, i] = gamma[t, i] / norm
        return gamma
"""
