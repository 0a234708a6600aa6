"""More of ``hand_written``: the same kinds of functions in other words, with five single mistakes in each."""

from hand_written import kind

kind(
    "affine: einsum, residual",
    """
def layer(x, w, b, gain):
    out = np.einsum("btd,dh->bth", x, w) + b
    return x + gain * out, (x, w, out, gain)

def layer_backward(dy, cache):
    x, w, out, gain = cache
    dgain = (dy * out).sum(axis=(0, 1))
    dout = gain * dy
    dw = np.einsum("btd,bth->dh", x, dout)
    db = dout.sum(axis=(0, 1))
    dx = dy + np.einsum("bth,dh->btd", dout, w)
    return dx, dw, db, dgain

def arguments(rng):
    n = rng.normal
    return layer, layer_backward, n(size=(2, 3, 4)), n(size=(4, 4)), n(size=4), n(size=4)
""",
    ("dx = dy + np", "dx = np", "missing term"),
    ('"bth,dh->btd"', '"bth,hd->btd"', "transposed | factor"),
    ("db = dout.sum(axis=(0, 1))", "db = dout.sum(axis=0).mean(axis=0)", "mean for the sum"),
    ("dout = gain * dy", "dout = dy", "factor"),
    ("dgain = (dy * out).sum(axis=(0, 1))", "dgain = dy * out", "broadcast gradient not summed"),
)
kind(
    "softmax: temperature",
    """
def forward(z, t):
    e = np.exp((z - z.max(axis=1, keepdims=True)) / t)
    p = e / e.sum(axis=1, keepdims=True)
    return p, (z, t, p)

def backward(dp, cache):
    z, t, p = cache
    inner = (dp * p).sum(axis=1, keepdims=True)
    da = p * (dp - inner)
    dz = da / t
    dt = -(da * z).sum() / t**2
    return dz, dt

def arguments(rng):
    return forward, backward, rng.normal(size=(4, 5)), 1.7
""",
    ("da = p * (dp - inner)", "da = p * dp", "missing term"),
    ("dt = -(da * z).sum() / t**2", "dt = (da * z).sum() / t**2", "sign"),
    ("da = p * (dp - inner)", "da = p * (1 - p) * dp", "missing term | factor"),
    ("dz = da / t", "dz = da", "factor"),
    ("inner = (dp * p).sum", "inner = dp.sum", "factor"),
)
kind(
    "layer norm: by the standard deviation",
    """
class Norm:
    def __init__(self, g, b):
        self.g, self.b = g, b
        self.dg, self.db = np.zeros_like(g), np.zeros_like(b)

    def forward(self, x):
        c = x - x.mean(axis=-1, keepdims=True)
        self.s = np.sqrt((c**2).mean(axis=-1, keepdims=True) + 1e-5)
        self.n = c / self.s
        return self.g * self.n + self.b

    def backward(self, dy):
        self.db += dy.sum(axis=0)
        self.dg += (dy * self.n).sum(axis=0)
        dn = dy * self.g
        dn = dn - dn.mean(axis=-1, keepdims=True) - self.n * (dn * self.n).mean(axis=-1, keepdims=True)
        return dn / self.s

def arguments(rng):
    return Norm(rng.normal(size=6), rng.normal(size=6)), rng.normal(size=(5, 6))
""",
    (" - dn.mean(axis=-1, keepdims=True)", "", "missing term"),
    (" - self.n * (dn * self.n).mean(axis=-1, keepdims=True)", "", "missing term"),
    ("return dn / self.s", "return dn", "factor"),
    ("dn = dy * self.g", "dn = dy", "factor"),
    ("(dn * self.n).mean(", "(dn * self.n).sum(", "mean for the sum"),
)
kind(
    "batch norm: in steps",
    """
def forward(x, gamma, beta):
    mu = x.mean(0)
    var = ((x - mu)**2).mean(0)
    inv = (var + 1e-4) ** -0.5
    xhat = (x - mu) * inv
    return gamma * xhat + beta, (x, mu, inv, xhat, gamma)

def backward(dout, cache):
    x, mu, inv, xhat, gamma = cache
    N = x.shape[0]
    dgamma, dbeta = (dout * xhat).sum(0), dout.sum(0)
    dxhat = dout * gamma
    dvar = -0.5 * (dxhat * (x - mu)).sum(0) * inv**3
    dmu = -dxhat.sum(0) * inv
    dx = dxhat * inv + dvar * 2 * (x - mu) / N + dmu / N
    return dx, dgamma, dbeta

def arguments(rng):
    return forward, backward, rng.normal(size=(7, 3)), rng.normal(size=3), rng.normal(size=3)
""",
    (" + dmu / N", "", "missing term"),
    ("dvar = -0.5 *", "dvar = 0.5 *", "sign"),
    ("inv**3", "inv**2", "factor"),
    (" + dmu / N", " + dmu", "mean for the sum | factor"),
    ("dbeta = (dout * xhat).sum(0), dout.sum(0)", "dbeta = (dout * xhat).sum(0), dout.mean(0)", "mean for the sum"),
)
kind(
    "attention: heads",
    """
def attend(q, k, v):
    a = np.einsum("hqd,hkd->hqk", q, k) / np.sqrt(q.shape[-1])
    w = np.exp(a - a.max(-1, keepdims=True))
    w /= w.sum(-1, keepdims=True)
    return w @ v

def attend_vjp(dout, q, k, v):
    scale = q.shape[-1] ** -0.5
    a = scale * np.einsum("hqd,hkd->hqk", q, k)
    w = np.exp(a - a.max(-1, keepdims=True))
    w /= w.sum(-1, keepdims=True)
    dv = w.transpose(0, 2, 1) @ dout
    dw = dout @ v.transpose(0, 2, 1)
    da = w * (dw - (dw * w).sum(-1, keepdims=True))
    dq = scale * da @ k
    dk = scale * da.transpose(0, 2, 1) @ q
    return dq, dk, dv

def arguments(rng):
    n = rng.normal
    return attend, attend_vjp, n(size=(2, 3, 4)), n(size=(2, 5, 4)), n(size=(2, 5, 4))
""",
    ("dq = scale * da @ k", "dq = da @ k", "factor"),
    ("dk = scale * da", "dk = -scale * da", "sign"),
    ("da = w * (dw - (dw * w).sum(-1, keepdims=True))", "da = w * dw", "missing term"),
    ("(dw * w).sum(-1,", "(dw * w).sum(-2,", "wrong axis"),
    ("da.transpose(0, 2, 1) @ q", "w.transpose(0, 2, 1) @ q", "factor"),
)
kind(
    "convolution: strided",
    """
def conv(x, w, b):
    T, K = (len(x) - len(w)) // 2 + 1, len(w)
    y = np.stack([sum(x[2 * t + k] @ w[k] for k in range(K)) + b for t in range(T)])
    return y, (x, w)

def conv_backward(dy, cache):
    x, w = cache
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    for t in range(len(dy)):
        for k in range(len(w)):
            dx[2 * t + k] += dy[t] @ w[k].T
            dw[k] += np.outer(x[2 * t + k], dy[t])
    return dx, dw, dy.sum(axis=0)

def arguments(rng):
    return conv, conv_backward, rng.normal(size=(9, 2)), rng.normal(size=(3, 2, 4)), rng.normal(size=4)
""",
    ("dx[2 * t + k] += dy", "dx[2 * t + k] = dy", "= for +="),
    ("dw[k] += np", "dw[k] = np", "= for +="),
    ("dx[2 * t + k] +=", "dx[t + k] +=", "factor | previous step"),
    ("np.outer(x[2 * t + k]", "np.outer(x[2 * t]", "previous step | factor"),
    ("dy.sum(axis=0)", "dy", "broadcast gradient not summed"),
)
kind(
    "embedding: padding row, scaled",
    """
def embed(table, index):
    return np.sqrt(4.0) * table[index]

def embed_backward(dy, table, index):
    dtable = np.zeros_like(table)
    np.add.at(dtable, index, 2.0 * dy)
    return dtable

def arguments(rng):
    return embed, embed_backward, rng.normal(size=(6, 3)), np.array([[0, 3, 3], [5, 3, 1]])
""",
    ("np.add.at(dtable, index, 2.0 * dy)", "dtable[index] += 2.0 * dy", "= for +="),
    ("2.0 * dy", "dy", "factor"),
    ("2.0 * dy", "-2.0 * dy", "sign"),
    ("2.0 * dy", "2.0 * dy / len(index)", "mean for the sum"),
    ("    return dtable", "    dy *= 2.0\n    return dtable", "changed in place"),
)
kind(
    "loss: huber, smoothed cross-entropy",
    """
def loss(logits, target, y):
    z = logits - logits.max(axis=1, keepdims=True)
    logp = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    soft = 0.9 * np.eye(logits.shape[1])[target] + 0.1 / logits.shape[1]
    r = np.sqrt(1 + y**2)
    value = -(soft * logp).sum(axis=1).mean() + (r - 1).sum()
    dlogits = (np.exp(logp) - soft) / len(logits)
    dy = y / r
    return value, {"logits": dlogits, "y": dy}

def arguments(rng):
    return loss, None, rng.normal(size=(5, 4)), np.array([0, 3, 1, 1, 2]), rng.normal(size=6)
""",
    ("/ len(logits)\n", "\n", "mean for the sum"),
    ("(np.exp(logp) - soft)", "(soft - np.exp(logp))", "sign"),
    ("dy = y / r", "dy = y", "factor"),
    ("(np.exp(logp) - soft)", "np.exp(logp)", "missing term"),
    ("/ len(logits)\n", "/ logits.size\n", "mean for the sum"),
)
kind(
    "rnn: vjp over time",
    """
def rnn(x, W, U, h0):
    hs, h = [], h0
    for t in range(len(x)):
        h = np.tanh(x[t] @ W + h @ U)
        hs.append(h)
    return np.stack(hs)

def rnn_vjp(dhs, x, W, U, h0):
    hs = rnn(x, W, U, h0)
    before = np.concatenate([h0[None], hs[:-1]])
    dW, dU, dh, dx = 0.0, 0.0, np.zeros_like(h0), np.zeros_like(x)
    for t in range(len(x) - 1, -1, -1):
        da = (dhs[t] + dh) * (1 - hs[t] ** 2)
        dW = dW + x[t].T @ da
        dU = dU + before[t].T @ da
        dx[t] = da @ W.T
        dh = da @ U.T
    return dx, dW, dU, dh

def arguments(rng):
    n = rng.normal
    return rnn, rnn_vjp, n(size=(4, 2, 3)), n(size=(3, 5)), n(size=(5, 5)), n(size=(2, 5))
""",
    ("(dhs[t] + dh)", "dhs[t]", "missing term"),
    ("before[t].T", "hs[t].T", "previous step"),
    ("dh = da @ U.T", "dh = da @ U", "transposed"),
    ("(1 - hs[t] ** 2)", "(1 - hs[t])", "factor"),
    ("dU = dU + before", "dU = before", "= for +="),
)
kind(
    "gru: closure",
    """
def gru(x, h, W, U):
    p, q = x @ W, h @ U
    H = h.shape[1]
    r = 1 / (1 + np.exp(-(p[:, :H] + q[:, :H])))
    z = 1 / (1 + np.exp(-(p[:, H:2*H] + q[:, H:2*H])))
    n = np.tanh(p[:, 2*H:] + r * q[:, 2*H:])

    def back(dy):
        dn = dy * (1 - z) * (1 - n * n)
        dz = dy * (h - n) * z * (1 - z)
        dr = dn * q[:, 2*H:] * r * (1 - r)
        dp = np.hstack([dr, dz, dn])
        dq = np.hstack([dr, dz, dn * r])
        dh = dy * z + dq @ U.T
        return dp @ W.T, dh, x.T @ dp, h.T @ dq

    return (1 - z) * n + z * h, back

def arguments(rng):
    n = rng.normal
    return gru, None, n(size=(3, 2)), n(size=(3, 4)), n(size=(2, 12)), n(size=(4, 12))
""",
    ("dy * z + dq", "dq", "missing term"),
    ("dy * (h - n)", "dy * (n - h)", "sign"),
    ("dn * r])", "dn])", "factor"),
    ("* r * (1 - r)", "* (1 - r)", "factor"),
    ("h.T @ dq", "h.T @ dp", "factor"),
)
kind(
    "lstm: dict of weights, final state",
    """
def lstm(w, x, h, c):
    for t in range(len(x)):
        i, f, g, o = np.split(x[t] @ w["x"] + h @ w["h"] + w["b"], 4, axis=1)
        i, f, o, g = 1 / (1 + np.exp(-i)), 1 / (1 + np.exp(-f)), 1 / (1 + np.exp(-o)), np.tanh(g)
        c = f * c + i * g
        h = o * np.tanh(c)
    return h, c

def lstm_backward(dh, dc, w, x, h, c):
    tape = []
    for t in range(len(x)):
        i, f, g, o = np.split(x[t] @ w["x"] + h @ w["h"] + w["b"], 4, axis=1)
        i, f, o, g = 1 / (1 + np.exp(-i)), 1 / (1 + np.exp(-f)), 1 / (1 + np.exp(-o)), np.tanh(g)
        tape.append((i, f, g, o, h, c))
        c = f * c + i * g
        tape[-1] += (np.tanh(c),)
        h = o * np.tanh(c)
    dw = {name: np.zeros_like(a) for name, a in w.items()}
    dx = np.zeros_like(x)
    for t in reversed(range(len(x))):
        i, f, g, o, h, c, tc = tape[t]
        do = dh * tc
        dc = dc + dh * o * (1 - tc * tc)
        di, df, dg = dc * g, dc * c, dc * i
        da = np.hstack([di * i * (1 - i), df * f * (1 - f), dg * (1 - g * g), do * o * (1 - o)])
        dw["x"] += x[t].T @ da
        dw["h"] += h.T @ da
        dw["b"] += da.sum(axis=0)
        dx[t] = da @ w["x"].T
        dh = da @ w["h"].T
        dc = dc * f
    return dw, dx, dh, dc

def arguments(rng):
    n = rng.normal
    w = {"x": n(size=(2, 12)), "h": n(size=(3, 12)), "b": n(size=12)}
    return lstm, lstm_backward, w, n(size=(3, 2, 2)), n(size=(2, 3)), n(size=(2, 3))
""",
    ("dc = dc + dh * o", "dc = dh * o", "missing term | = for +="),
    ("        dc = dc * f\n", "", "factor"),
    ("da.sum(axis=0)", "da.mean(axis=0)", "mean for the sum"),
    ("dc * g, dc * c, dc * i", "dc * i, dc * c, dc * g", "factor | swapped"),
    ("(1 - tc * tc)", "(1 - c * c)", "previous step | factor"),
)
kind(
    "optimiser: momentum, unrolled",
    """
def train(theta, velocity, rate, target):
    for _ in range(3):
        grad = theta - target
        velocity = 0.9 * velocity + grad
        theta = theta - rate * velocity
    return theta

def train_backward(dtheta, theta, velocity, rate, target):
    velocities = []
    for _ in range(3):
        velocity = 0.9 * velocity + theta - target
        velocities.append(velocity)
        theta = theta - rate * velocity
    drate, dtarget, dvelocity = 0.0, np.zeros_like(target), np.zeros_like(velocity)
    for v in reversed(velocities):
        drate -= (dtheta * v).sum()
        dvelocity = dvelocity - rate * dtheta
        dtheta = dtheta + dvelocity
        dtarget -= dvelocity
        dvelocity = 0.9 * dvelocity
    return dtheta, dvelocity, drate, dtarget

def arguments(rng):
    return train, train_backward, rng.normal(size=4), rng.normal(size=4), 0.3, rng.normal(size=4)
""",
    ("drate -= (", "drate += (", "sign"),
    ("dvelocity = dvelocity - rate * dtheta", "dvelocity = -rate * dtheta", "missing term | = for +="),
    ("dtheta = dtheta + dvelocity\n", "dtheta = dvelocity\n", "missing term | = for +="),
    ("dtarget -= dvelocity", "dtarget = -dvelocity", "= for +="),
    ("        dvelocity = 0.9 * dvelocity\n", "", "factor"),
)
