"""CTC as students of CMU 11-785 hand it in, right, and mistakes in it: written for these tests."""

CTC = """import numpy as np


class CTC:
    def __init__(self, BLANK=0):
        self.BLANK = BLANK

    def extend_target_with_blank(self, target):
        symbols = [self.BLANK]
        for label in target:
            symbols.extend([label, self.BLANK])
        skips = [0] * len(symbols)
        for s in range(3, len(symbols), 2):
            if symbols[s] != symbols[s - 2]:
                skips[s] = 1
        return np.array(symbols), np.array(skips)

    def get_forward_probs(self, logits, extended_symbols, skip_connect):
        T, S = len(logits), len(extended_symbols)
        alpha = np.zeros((T, S))
        alpha[0, 0] = logits[0, extended_symbols[0]]
        alpha[0, 1] = logits[0, extended_symbols[1]]
        for t in range(1, T):
            for s in range(S):
                total = alpha[t - 1, s]
                if s > 0:
                    total += alpha[t - 1, s - 1]
                if skip_connect[s]:
                    total += alpha[t - 1, s - 2]
                alpha[t, s] = total * logits[t, extended_symbols[s]]
        return alpha

    def get_backward_probs(self, logits, extended_symbols, skip_connect):
        T, S = len(logits), len(extended_symbols)
        beta = np.zeros((T, S))
        beta[T - 1, S - 1] = 1
        beta[T - 1, S - 2] = 1
        for t in range(T - 2, -1, -1):
            for s in range(S):
                beta[t, s] = beta[t + 1, s] * logits[t + 1, extended_symbols[s]]
                if s + 1 < S:
                    beta[t, s] += beta[t + 1, s + 1] * logits[t + 1, extended_symbols[s + 1]]
                if s + 2 < S and skip_connect[s + 2]:
                    beta[t, s] += beta[t + 1, s + 2] * logits[t + 1, extended_symbols[s + 2]]
        return beta

    def get_posterior_probs(self, alpha, beta):
        gamma = alpha * beta
        total = gamma.sum(axis=1, keepdims=True)
        return gamma / (total + 1e-10)


class CTCLoss:
    def __init__(self, BLANK=0):
        self.BLANK = BLANK
        self.gammas = []
        self.ctc = CTC(BLANK)

    def forward(self, logits, target, input_lengths, target_lengths):
        self.logits, self.target = logits, target
        self.input_lengths, self.target_lengths = input_lengths, target_lengths
        B = len(target)
        losses = np.zeros(B)
        self.extended_symbols = []
        for b in range(B):
            y = logits[:input_lengths[b], b]
            symbols, skips = self.ctc.extend_target_with_blank(target[b, :target_lengths[b]])
            alpha = self.ctc.get_forward_probs(y, symbols, skips)
            beta = self.ctc.get_backward_probs(y, symbols, skips)
            gamma = self.ctc.get_posterior_probs(alpha, beta)
            self.extended_symbols.append(symbols)
            self.gammas.append(gamma)
            losses[b] = -np.sum(gamma * np.log(y[:, symbols]))
        return np.sum(losses) / B

    def backward(self):
        T, B, C = self.logits.shape
        dY = np.zeros((T, B, C))
        for b in range(B):
            symbols, gamma = self.extended_symbols[b], self.gammas[b]
            for t in range(self.input_lengths[b]):
                for s, symbol in enumerate(symbols):
                    dY[t, b, symbol] -= gamma[t, s] / self.logits[t, b, symbol]
        return dY
"""

# the function, what stands there, what a student writes
CTC_MISTAKES = [
    ("CTC.extend_target_with_blank", "symbols[s] != symbols[s - 2]", "symbols[s] != symbols[s - 1]"),
    ("CTC.extend_target_with_blank", "symbols[s] != symbols[s - 2]", "symbols[s] == symbols[s - 2]"),
    ("CTC.extend_target_with_blank", "range(3, len(symbols), 2)", "range(1, len(symbols), 2)"),
    ("CTC.extend_target_with_blank", "range(3, len(symbols), 2)", "range(2, len(symbols), 2)"),
    ("CTC.extend_target_with_blank", "[label, self.BLANK]", "[self.BLANK, label]"),
    ("CTC.get_forward_probs", "total += alpha[t - 1, s - 1]", "total = alpha[t - 1, s - 1]"),
    ("CTC.get_forward_probs", "total += alpha[t - 1, s - 2]", "total += alpha[t - 1, s - 1]"),
    ("CTC.get_forward_probs", "total * logits[t, extended_symbols[s]]", "total * logits[t, s % 2]"),
    ("CTC.get_forward_probs", "total * logits[t, extended_symbols[s]]", "total * logits[t - 1, extended_symbols[s]]"),
    ("CTC.get_forward_probs", "total * logits[t, extended_symbols[s]]", "total"),
    ("CTC.get_forward_probs", "        alpha[0, 1] = logits[0, extended_symbols[1]]\n", ""),
    ("CTC.get_forward_probs", "if skip_connect[s]:", "if not skip_connect[s]:"),
    ("CTC.get_backward_probs", "        beta[T - 1, S - 2] = 1\n", ""),
    ("CTC.get_backward_probs", "beta[T - 1, S - 1] = 1", "beta[T - 1, S - 1] = logits[T - 1, extended_symbols[S - 1]]"),
    ("CTC.get_backward_probs", "range(T - 2, -1, -1)", "range(T - 2, 0, -1)"),
    (
        "CTC.get_backward_probs",
        "beta[t + 1, s] * logits[t + 1, extended_symbols[s]]",
        "beta[t + 1, s] * logits[t, extended_symbols[s]]",
    ),
    ("CTC.get_backward_probs", "skip_connect[s + 2]:", "skip_connect[s]:"),
    ("CTC.get_backward_probs", "logits[t + 1, extended_symbols[s + 2]]", "logits[t + 1, extended_symbols[s + 1]]"),
    ("CTC.get_posterior_probs", "sum(axis=1, keepdims=True)", "sum(axis=0, keepdims=True)"),
    ("CTC.get_posterior_probs", "sum(axis=1, keepdims=True)", "sum()"),
    ("CTC.get_posterior_probs", "alpha * beta", "alpha + beta"),
    ("CTC.get_posterior_probs", "gamma / (total + 1e-10)", "gamma"),
    ("CTCLoss.forward", "-np.sum(gamma", "np.sum(gamma"),
    ("CTCLoss.forward", "np.sum(losses) / B", "np.sum(losses)"),
    ("CTCLoss.forward", "np.log(y[:, symbols])", "y[:, symbols]"),
    ("CTCLoss.forward", "target[b, :target_lengths[b]]", "target[b]"),
    ("CTCLoss.backward", "dY[t, b, symbol] -= gamma", "dY[t, b, symbol] += gamma"),
    ("CTCLoss.backward", "dY[t, b, symbol] -= gamma[t, s]", "dY[t, b, symbol] = -gamma[t, s]"),
    ("CTCLoss.backward", "gamma[t, s] / self.logits[t, b, symbol]", "gamma[t, s]"),
    ("CTCLoss.backward", "self.input_lengths[b]", "T"),
    ("CTCLoss.backward", "return dY", "return dY / B"),
]
