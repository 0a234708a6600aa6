"""An independent oracle for recurrent networks: scalar loops over nested lists, nothing else.

What it is: the published equations of the Elman network, the GRU (both places of the reset gate) and the LSTM,
written one number at a time with ``math.tanh`` and ``math.exp`` on Python floats (f8). One row of the batch is run
at a time, so a row's length is simply the bound of its time loop.

Why it exists: a gradient check only says that a backward pass belongs to its forward pass. A forward pass with two
gates swapped, or with a reverse direction that never reverses, has perfectly consistent gradients. It does not have
the numbers computed here, and this file shares no code with the package (nor NumPy), so it cannot share its mistakes.

Shapes: x is [T][B][D]; W [D][G*H], U [H][G*H], b [G*H], bn [H], with the G gate blocks side by side in the order
RNN: one block; GRU: r, z, n; LSTM: i, f, g, o; of the others as their functions say. States are
[num_layers * num_directions][B][H]; of a projected LSTM U is [R][G*H], P [H][R] and h [..][B][R].

``Noise`` is what training adds at random, its masks given: dropout between layers, of U's entries, and zoneout [7] [8].

The kinds that end in "_any" take ``options``: the functions of one number in place of σ and tanh, in the order of
their use, a clip, peepholes and a coupled forget gate, as ONNX's operators define them [5].

References:
 [1] Elman 1990, "Finding Structure in Time".
 [2] Hochreiter & Schmidhuber 1997, "Long Short-Term Memory"; the forget gate is from Gers et al. 2000, "Learning to
     Forget"; written out in the documentation of torch.nn.LSTM.
 [3] Cho et al. 2014, arXiv:1406.1078, equations 5 to 8: the GRU (reset gate before the product with U).
 [4] The documentation of torch.nn.GRU: the GRU with the reset gate after the product with U.
 [5] The specification of ONNX's operators RNN, GRU and LSTM, version 22.
 [6] Sak et al. 2014, arXiv:1402.1128, equations 1 to 6 (LSTMP), without its peepholes and its non-recurrent projection;
     written out in the documentation of torch.nn.LSTM under proj_size.
 [7] Krueger et al. 2017, arXiv:1606.01305, section 3: zoneout.
 [8] Merity et al. 2018, arXiv:1708.02182, section 2: DropConnect on the recurrent weights; section 4.2: locked dropout.
 [9] Gers & Schmidhuber 2000, "Recurrent nets that time and count": peepholes.
 [10] Greff et al. 2017, arXiv:1503.04069, section V: the coupled input and forget gate (CIFG).
 [11] Li et al. 2018, arXiv:1803.04831, equation 2: IndRNN.
 [12] Feng et al. 2024, arXiv:2410.01201, sections 3.1.3 and 3.2.4: minGRU and minLSTM.
 [13] Lei et al. 2017, arXiv:1709.02755 (version 1), equations 3 to 7: SRU, without the function g of its state.
 [14] Ba, Kiros & Hinton 2016, arXiv:1607.06450, equations 3 and 4 and the supplement: layer normalisation of the summed
     inputs, and where the LSTM and the GRU have it; here over all gates' sums together, in the GRU too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

Vector: TypeAlias = list[float]
Matrix: TypeAlias = list[list[float]]
Cube: TypeAlias = list[list[list[float]]]
Weights: TypeAlias = dict[str, Any]  # "W", "U", for lstm_proj "P" are a Matrix; "b", for gru_after "bn" a Vector
Memory: TypeAlias = tuple[Vector, ...]  # one row's state in one direction: (h,) or, for the LSTM, (h, c)
State: TypeAlias = tuple[Cube, ...]  # the whole network's state: (h,) or (h, c)

KINDS = (
    *("rnn_tanh", "rnn_relu", "gru_after", "gru_before", "lstm", "lstm_proj", "rnn_any", "gru_any", "lstm_any"),
    *("lstm_peephole", "lstm_coupled", "indrnn", "min_gru", "min_lstm", "sru", "lstm_norm", "gru_norm"),
)


class Options(NamedTuple):
    """What [5] calls activations (f, g, h), clip, linear_before_reset and input_forget."""

    functions: tuple[Callable[[float], float], ...]
    clip: float | None = None
    linear_before_reset: bool = False
    input_forget: bool = False

    def apply(self, k: int, a: float) -> float:
        """The k-th function of a clipped argument."""
        if self.clip is not None:
            a = max(-self.clip, min(self.clip, a))
        return self.functions[k](a)


class Noise(NamedTuple):
    """What multiplies a number at random: by layer, then by direction; None where nothing does."""

    outputs: list[Cube | None]  # of each layer's output [T][B][H * directions]: 0, or 1 / (1 - p)
    recurrent: list[list[Matrix | None]]  # of each entry of U: likewise
    zoned: list[list[tuple[Cube, ...] | None]]  # of each state before a step, [T][B][H], as d in [7]: 1, 0, or p


def sigmoid(a: float) -> float:
    """1 / (1 + exp(-a)); exp only ever sees a number that is not positive, so it cannot overflow."""
    if a >= 0.0:
        return 1.0 / (1.0 + math.exp(-a))
    e = math.exp(a)
    return e / (1.0 + e)


def dot(v: Vector, m: Matrix, column: int) -> float:
    """One entry of the row vector v times the matrix m."""
    if len(v) != len(m):
        raise ValueError(f"a vector of {len(v)} times a matrix of {len(m)} rows")
    total = 0.0
    for k in range(len(v)):
        total += v[k] * m[k][column]
    return total


def rnn_step(kind: str, x: Vector, h: Vector, p: Weights) -> Vector:
    """[1]: h' = tanh(x W + b + h U), or relu in place of tanh."""
    new_h = []
    for j in range(len(h)):
        a = dot(x, p["W"], j) + p["b"][j] + dot(h, p["U"], j)
        new_h.append(math.tanh(a) if kind == "rnn_tanh" else max(0.0, a))
    return new_h


def gru_step(kind: str, x: Vector, h: Vector, p: Weights) -> Vector:
    """[3] for "gru_before", [4] for "gru_after"; gate blocks r, z, n."""
    size = len(h)
    r, z = [], []
    for j in range(size):
        r.append(sigmoid(dot(x, p["W"], j) + p["b"][j] + dot(h, p["U"], j)))  # [3] eq. 5
        z.append(sigmoid(dot(x, p["W"], size + j) + p["b"][size + j] + dot(h, p["U"], size + j)))  # [3] eq. 6
    reset_h = [r[j] * h[j] for j in range(size)]
    new_h = []
    for j in range(size):
        a = dot(x, p["W"], 2 * size + j) + p["b"][2 * size + j]
        if kind == "gru_before":
            a += dot(reset_h, p["U"], 2 * size + j)  # [3] eq. 8: (r * h) U_n
        else:
            a += r[j] * (dot(h, p["U"], 2 * size + j) + p["bn"][j])  # [4]: r * (h U_n + bn)
        n = math.tanh(a)
        new_h.append((1.0 - z[j]) * n + z[j] * h[j])  # [3] eq. 7: z keeps the old state
    return new_h


def lstm_step(x: Vector, h: Vector, c: Vector, p: Weights) -> tuple[Vector, Vector]:
    """[2]; gate blocks i, f, g, o. Returns h' and c'."""
    size = len(c)
    new_h, new_c = [], []
    for j in range(size):
        a = [dot(x, p["W"], k * size + j) + p["b"][k * size + j] + dot(h, p["U"], k * size + j) for k in range(4)]
        i, f, g, o = sigmoid(a[0]), sigmoid(a[1]), math.tanh(a[2]), sigmoid(a[3])
        new_c.append(f * c[j] + i * g)
        new_h.append(o * math.tanh(new_c[j]))
    return new_h, new_c


def lstm_proj_step(x: Vector, h: Vector, c: Vector, p: Weights) -> tuple[Vector, Vector]:
    """[6]: what the LSTM puts out, m, becomes the state as r = W_rm m. Returns h' (the paper's r) and c'."""
    m, new_c = lstm_step(x, h, c, p)
    return [dot(m, p["P"], k) for k in range(len(h))], new_c


def block(x: Vector, h: Vector, p: Weights, k: int, j: int) -> float:
    """Unit j's argument in gate block k: x W + b + h U."""
    column = k * len(h) + j
    bias: float = p["b"][column]
    return dot(x, p["W"], column) + bias + dot(h, p["U"], column)


def rnn_any_step(x: Vector, h: Vector, p: Weights, options: Options) -> Vector:
    """[5], RNN: Ht = f(Xt*Wi + Ht-1*Ri + b)."""
    return [options.apply(0, block(x, h, p, 0, j)) for j in range(len(h))]


def gru_any_step(x: Vector, h: Vector, p: Weights, options: Options) -> Vector:
    """[5], GRU, with this file's gate blocks r, z, n."""
    size = len(h)
    r = [options.apply(0, block(x, h, p, 0, j)) for j in range(size)]
    z = [options.apply(0, block(x, h, p, 1, j)) for j in range(size)]
    new_h = []
    for j in range(size):
        column = 2 * size + j
        a = dot(x, p["W"], column) + p["b"][column]
        if options.linear_before_reset:
            a += r[j] * (dot(h, p["U"], column) + p["bn"][j])  # rt . (Ht-1*Rh + Rbh)
        else:
            a += dot([r[k] * h[k] for k in range(size)], p["U"], column)  # (rt . Ht-1)*Rh
        new_h.append((1.0 - z[j]) * options.apply(1, a) + z[j] * h[j])  # (1 - zt) . ht + zt . Ht-1
    return new_h


def lstm_any_step(x: Vector, h: Vector, c: Vector, p: Weights, options: Options) -> tuple[Vector, Vector]:
    """[5], LSTM, with this file's gate blocks i, f, g, o; i, g, o where the forget gate is coupled."""
    size, none = len(h), [0.0] * len(h)
    peep_i, peep_f, peep_o = (p.get(name, none) for name in ("p_i", "p_f", "p_o"))
    at_g, at_o = (1, 2) if options.input_forget else (2, 3)
    new_h, new_c = [], []
    for j in range(size):
        i = options.apply(0, block(x, h, p, 0, j) + peep_i[j] * c[j])
        f = 1.0 - i if options.input_forget else options.apply(0, block(x, h, p, 1, j) + peep_f[j] * c[j])
        new_c.append(f * c[j] + i * options.apply(1, block(x, h, p, at_g, j)))  # Ct = ft . Ct-1 + it . ct
        o = options.apply(0, block(x, h, p, at_o, j) + peep_o[j] * new_c[j])  # Po . Ct
        new_h.append(o * options.apply(2, new_c[j]))  # Ht = ot . h(Ct)
    return new_h, new_c


def lstm_peephole_step(x: Vector, h: Vector, c: Vector, p: Weights) -> tuple[Vector, Vector]:
    """[9]; gate blocks i, f, g, o. The output gate sees the new cell."""
    new_h, new_c = [], []
    for j in range(len(c)):
        i = sigmoid(block(x, h, p, 0, j) + p["w_i"][j] * c[j])
        f = sigmoid(block(x, h, p, 1, j) + p["w_f"][j] * c[j])
        new_c.append(f * c[j] + i * math.tanh(block(x, h, p, 2, j)))
        o = sigmoid(block(x, h, p, 3, j) + p["w_o"][j] * new_c[j])
        new_h.append(o * math.tanh(new_c[j]))
    return new_h, new_c


def lstm_coupled_step(x: Vector, h: Vector, c: Vector, p: Weights) -> tuple[Vector, Vector]:
    """[10], i = 1 - f; gate blocks f, g, o."""
    new_h, new_c = [], []
    for j in range(len(c)):
        f = sigmoid(block(x, h, p, 0, j))
        new_c.append(f * c[j] + (1.0 - f) * math.tanh(block(x, h, p, 1, j)))
        new_h.append(sigmoid(block(x, h, p, 2, j)) * math.tanh(new_c[j]))
    return new_h, new_c


def read(x: Vector, p: Weights, k: int, j: int) -> float:
    """Unit j's argument in gate block k where there is no U: x W + b."""
    column = k * (len(p["b"]) // p["blocks"]) + j
    bias: float = p["b"][column]
    return dot(x, p["W"], column) + bias


def indrnn_step(x: Vector, h: Vector, p: Weights) -> Vector:
    """[11]: h' = relu(W x + u . h + b)."""
    return [max(0.0, read(x, p, 0, j) + p["w"][j] * h[j]) for j in range(len(h))]


def min_gru_step(x: Vector, h: Vector, p: Weights) -> Vector:
    """[12], minGRU: h' = (1 - z) . h + z . n; gate blocks z, n."""
    z = [sigmoid(read(x, p, 0, j)) for j in range(len(h))]
    return [(1.0 - z[j]) * h[j] + z[j] * read(x, p, 1, j) for j in range(len(h))]


def min_lstm_step(x: Vector, h: Vector, p: Weights) -> Vector:
    """[12], minLSTM: f' = f / (f + i), i' = i / (f + i), h' = f' . h + i' . n; gate blocks f, i, n."""
    new_h = []
    for j in range(len(h)):
        f, i = sigmoid(read(x, p, 0, j)), sigmoid(read(x, p, 1, j))
        new_h.append(f / (f + i) * h[j] + i / (f + i) * read(x, p, 2, j))
    return new_h


def sru_step(x: Vector, c: Vector, p: Weights) -> tuple[Vector, Vector]:
    """[13]; blocks: the transformed input, f, r, and what stands for x in the highway. Returns h' and c'."""
    new_h, new_c = [], []
    for j in range(len(c)):
        f, r = sigmoid(read(x, p, 1, j)), sigmoid(read(x, p, 2, j))
        new_c.append(f * c[j] + (1.0 - f) * read(x, p, 0, j))
        new_h.append(r * new_c[j] + (1.0 - r) * read(x, p, 3, j))
    return new_h, new_c


def layer_norm(a: Vector) -> Vector:
    """[14], equation 3, without gain and shift; 1e-5 is added to the variance."""
    mean = sum(a) / len(a)
    variance = sum((one - mean) ** 2 for one in a) / len(a)
    return [(one - mean) / math.sqrt(variance + 1e-5) for one in a]


def normalised_sums(x: Vector, h: Vector, p: Weights, gates: int) -> tuple[list[Vector], list[Vector]]:
    """[14]: LN(x W + b) and LN(h U), each over all gates, then gate by gate."""
    size = len(h)
    of_x = layer_norm([dot(x, p["W"], j) + p["b"][j] for j in range(gates * size)])
    of_h = layer_norm([dot(h, p["U"], j) for j in range(gates * size)])
    parts = [slice(k * size, (k + 1) * size) for k in range(gates)]
    return [of_x[part] for part in parts], [of_h[part] for part in parts]


def lstm_norm_step(x: Vector, h: Vector, c: Vector, p: Weights) -> tuple[Vector, Vector]:
    """[14], LSTM: gates of two normalised sums, and h' of the normalised cell; gate blocks i, f, g, o."""
    of_x, of_h = normalised_sums(x, h, p, 4)
    outs, new_c = [], []
    for j in range(len(c)):
        a = [p[f"v_{k}"][j] * of_x[n][j] + p[f"w_{k}"][j] * of_h[n][j] + p[f"e_{k}"][j] for n, k in enumerate("ifgo")]
        new_c.append(sigmoid(a[1]) * c[j] + sigmoid(a[0]) * math.tanh(a[2]))
        outs.append(sigmoid(a[3]))
    cell = layer_norm(new_c)
    return [outs[j] * math.tanh(p["v_c"][j] * cell[j] + p["e_c"][j]) for j in range(len(c))], new_c


def gru_norm_step(x: Vector, h: Vector, p: Weights) -> Vector:
    """[14], GRU; gate blocks r, z, n; z keeps the old state."""
    of_x, of_h = normalised_sums(x, h, p, 3)
    new_h = []
    for j in range(len(h)):
        r, z = (
            sigmoid(p[f"v_{k}"][j] * of_x[n][j] + p[f"w_{k}"][j] * of_h[n][j] + p[f"e_{k}"][j])
            for n, k in enumerate("rz")
        )
        reset = r * (p["w_n"][j] * of_h[2][j] + p["e_u"][j])
        n = math.tanh(p["v_n"][j] * of_x[2][j] + p["e_n"][j] + reset)
        new_h.append((1.0 - z) * n + z * h[j])
    return new_h


BLOCKS = {"indrnn": 1, "min_gru": 2, "min_lstm": 3, "sru": 4}  # the kinds that have no U
TWO_STATES = ("lstm", "sru")


def step(kind: str, x: Vector, memory: Memory, p: Weights, options: Options | None = None) -> Memory:
    """One time step of one row: the state after having read x."""
    if kind.endswith("_any"):
        if options is None:
            raise ValueError(f"kind {kind} needs options")
        if kind == "lstm_any":
            return lstm_any_step(x, memory[0], memory[1], p, options)
        return ((rnn_any_step if kind == "rnn_any" else gru_any_step)(x, memory[0], p, options),)
    if kind in ("rnn_tanh", "rnn_relu"):
        return (rnn_step(kind, x, memory[0], p),)
    if kind in ("gru_after", "gru_before"):
        return (gru_step(kind, x, memory[0], p),)
    if kind == "gru_norm":
        return (gru_norm_step(x, memory[0], p),)
    if kind in BLOCKS:
        if kind == "sru":
            return sru_step(x, memory[1], {**p, "blocks": BLOCKS[kind]})
        function = {"indrnn": indrnn_step, "min_gru": min_gru_step, "min_lstm": min_lstm_step}[kind]
        return (function(x, memory[0], {**p, "blocks": BLOCKS[kind]}),)
    steps = {"lstm": lstm_step, "lstm_proj": lstm_proj_step}
    steps |= {"lstm_peephole": lstm_peephole_step, "lstm_coupled": lstm_coupled_step, "lstm_norm": lstm_norm_step}
    return steps[kind](x, memory[0], memory[1], p)


def thinned(p: Weights, factors: Matrix | None) -> Weights:
    """The weights, U entry by entry multiplied, as [8] does."""
    if factors is None:
        return p
    U = [[factors[i][j] * p["U"][i][j] for j in range(len(p["U"][i]))] for i in range(len(p["U"]))]
    return {**p, "U": U}


def zone(old: Memory, new: Memory, d: tuple[Vector, ...]) -> Memory:
    """[7]: d old + (1 - d) new, of every state; what was computed of a state before this is not changed by it."""
    return tuple(
        [d[k][j] * old[k][j] + (1.0 - d[k][j]) * new[k][j] for j in range(len(new[k]))] for k in range(len(new))
    )


def run(
    kind: str,
    x: Cube,
    layers: list[list[Weights]],
    state: State | None = None,
    lengths: list[int] | None = None,
    options: Options | None = None,
    noise: Noise | None = None,
) -> tuple[Cube, State]:
    """Run a stack of layers, each of one direction (forward) or two (forward, reverse).

    Returns y [T][B][H * num_directions] of the last layer (0 past a row's length) and the final states, whose index
    is layer * num_directions + direction. A reverse direction reads from the row's own last valid step down to 0.
    """
    if kind not in KINDS:
        raise ValueError(f"kind is {kind!r}, not one of {KINDS}")
    steps, rows = len(x), len(x[0])
    first = layers[0][0]
    size = len(first["b"]) // BLOCKS[kind] if kind in BLOCKS else len(first["P" if "P" in first else "U"])
    directions, width = len(layers[0]), len(first["P"][0]) if "P" in first else size
    parts = 2 if kind.startswith(TWO_STATES) else 1
    if state is None:
        state = tuple(
            [[[0.0] * n for _ in range(rows)] for _ in range(len(layers) * directions)] for n in (width, size)[:parts]
        )
    if lengths is None:
        lengths = [steps] * rows

    y: Cube = [[[0.0] * (width * directions) for _ in range(rows)] for _ in range(steps)]
    final: State = tuple([[list(row) for row in block] for block in part] for part in state)
    for b in range(rows):
        sequence: Matrix = [x[t][b] for t in range(lengths[b])]  # the row's valid steps, and no others
        for layer in range(len(layers)):
            outputs: Matrix = [[] for _ in sequence]
            for direction in range(directions):
                index = layer * directions + direction
                memory: Memory = tuple(part[index][b] for part in state)
                weights, zoned = layers[layer][direction], None
                if noise is not None:
                    weights, zoned = thinned(weights, noise.recurrent[layer][direction]), noise.zoned[layer][direction]
                order = list(range(len(sequence)))
                if direction == 1:
                    order.reverse()
                for t in order:
                    new = step(kind, sequence[t], memory, weights, options)
                    memory = new if zoned is None else zone(memory, new, tuple(d[t][b] for d in zoned))
                    outputs[t].extend(memory[0])  # forward half first, then the reverse half
                for k in range(parts):
                    final[k][index][b] = list(memory[k])
            factors = None if noise is None else noise.outputs[layer]
            if factors is not None:
                for t in range(len(outputs)):
                    outputs[t] = [factors[t][b][j] * outputs[t][j] for j in range(len(outputs[t]))]
            sequence = outputs
        for t in range(len(sequence)):
            y[t][b] = sequence[t]
    return y, final


def cross_entropy(logits: Cube, targets: list[list[int]], mask: list[list[bool]] | None = None) -> float:
    """The mean of -log softmax(logits)[target], in nats, over the positions where mask is true (all, without one)."""
    total, count = 0.0, 0
    for t in range(len(targets)):
        for b in range(len(targets[t])):
            if mask is not None and not mask[t][b]:
                continue
            row = logits[t][b]
            top = max(row)  # subtracted first, so that no exp overflows
            log_sum = top + math.log(sum(math.exp(a - top) for a in row))
            total += log_sum - row[targets[t][b]]
            count += 1
    if count == 0:
        raise ValueError("no position to take the mean over")
    return total / count


def perplexity(logits: Cube, targets: list[list[int]]) -> float:
    """exp of the mean cross entropy per position."""
    return math.exp(cross_entropy(logits, targets))
