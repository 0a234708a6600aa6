"""The recurrent layers: any cell in any depth and direction, around ``minirnn.scan``; RNN, GRU and LSTM."""

from typing import Any

from minirnn.backend import Array
from minirnn.base import Layer, Pull, Reader, Result, Run, State, check_size
from minirnn.cells import GRUBeforeCell, GRUCell, LSTMCell, ReluCell, TanhCell, split
from minirnn.layers import check_probability, drop
from minirnn.parameters import Spec
from minirnn.protocol import Arrays, block_of, check_cell, recurrent_bias_of, stages_of, units_of
from minirnn.scan import Scan, flip, turned


class Direction(Layer):
    """One layer in one direction: the products around a ``Scan``.  Its state is a tuple of (B, H) arrays.

    Weights ``W (D, G·H)``, ``U (H, G·H)``, ``b (G·H)``, ``b<gate> (H)`` for each recurrent bias, the cell's per-unit
    weights (H), and ``h0``, ``c0`` ... (H) for trainable initial states.
    """

    def __init__(self, cell: Any, input_size: int, hidden_size: int, *, reverse: bool, trainable_state: bool) -> None:
        self.cell, self.input_size, self.hidden_size = cell, input_size, hidden_size
        self.reverse, self.trainable_state = reverse, trainable_state
        self.gates = tuple(gate for stage in stages_of(cell) for gate in stage.gates)

    def specs(self) -> dict[str, Spec]:
        D, H, width = self.input_size or 0, self.hidden_size, len(self.gates) * self.hidden_size
        letters = getattr(self.cell, "chapter_gates", self.gates)
        specs = {
            "W": Spec((D, width), "input", H, tuple(f"W_x{g}" for g in letters)),
            "U": Spec((H, width), "recurrent", H, tuple(f"W_h{g}" for g in letters)),
            "b": Spec((width,), "bias", H, tuple(f"b_{g}" for g in letters)),
        }
        for stage in stages_of(self.cell):
            specs |= {f"b{gate}": Spec((H,), "bias", H) for gate in recurrent_bias_of(stage)}
            specs |= {name: Spec((H,), "unit", H) for name in units_of(stage)}
        if self.trainable_state:
            specs |= {f"{name}0": Spec((H,), "state", H) for name in self.cell.state}
        return specs

    def initial(self, B: int, run: Run) -> Arrays:
        """The state before the first step when none was given."""
        p = run.parameters
        zeros = p.backend.xp.zeros((B, self.hidden_size), p.dtype)
        return tuple(zeros + self.weight(f"{n}0") if self.trainable_state else zeros for n in self.cell.state)

    def apply(self, x: Array, state: State, run: Run) -> Result:
        p = run.parameters
        xp, given = p.backend.xp, state is not None
        T, B, D, H = *x.shape[:2], self.input_size or 0, self.hidden_size
        carry = None if run.past is None else run.past[:, :, None]
        indices = x.dtype.kind in "iu"
        x = self._turn(x, run)
        if indices:
            P = self.weight("W")[x] + self.weight("b")
        else:
            P = (x.reshape(T * B, D) @ self.weight("W")).reshape(T, B, len(self.gates) * H)
            P += self.weight("b")
        scan = Scan(self.cell, H, {name: self.weight(name) for name in self.specs()}, xp)
        h, final = scan.forward(P, state if given else self.initial(B, run), carry, save=run.training)

        def pull(dy: Array | None, dstate: State) -> tuple[Array | None, State]:
            if dy is None and dstate is None:
                zeros = xp.zeros((B, H), p.dtype)
                return None, tuple(zeros for _ in self.cell.state)
            dy = None if dy is None else self._turn(dy, run)
            if dstate is None:
                dstate = tuple(xp.zeros((B, H), p.dtype) for _ in self.cell.state)
            dP, dQ, dunits, dstate = scan.backward(dy, dstate, carry)
            rows = dP.reshape(T * B, dP.shape[2])
            self._accumulate(scan, dQ, dunits)
            if not given and self.trainable_state:
                for name, d in zip(self.cell.state, dstate, strict=True):
                    self._add(f"{name}0", d.sum(0))
            self._add("b", rows.sum(0))
            if indices:
                p.backend.add_rows(self.grad("W"), x.reshape(-1), rows)
                return None, dstate
            self._add("W", x.reshape(T * B, D).T @ rows)
            dx = (rows @ self.weight("W").T).reshape(T, B, D)
            return self._turn(dx, run), dstate

        y = p.backend.locked(h[1:]) if run.training else h[1:]
        saved = scan.named()
        if self.reverse:
            saved = {name: turned(read, run) for name, read in saved.items()}
        return Result(self._turn(y, run), final, pull, saved)

    def _accumulate(self, scan: Scan, dQ: list[Array], dunits: list[list[Array]]) -> None:
        """The gradients of what stands inside the scan."""
        dU, H = self.grad("U"), self.hidden_size
        for k, stage in enumerate(scan.stages):
            A, rows = scan.A[k].reshape(-1, H), dQ[k].reshape(-1, dQ[k].shape[-1])
            dU[:, scan.columns[k]] += A.T @ rows
            for gate in recurrent_bias_of(stage):
                self._add(f"b{gate}", rows[:, block_of(stage, gate, H)].sum(0))
            for name, d in zip(units_of(stage), dunits[k], strict=True):
                self._add(name, d)

    def _add(self, name: str, gradient: Array) -> None:
        total = self.grad(name)
        total += gradient

    def _turn(self, a: Array, run: Run) -> Array:
        """``a`` (T, B, ...) in this direction's order of steps; turning twice gives ``a`` again."""
        return flip(a, run) if self.reverse else a


class Recurrent(Layer):
    """Any cell, unrolled over time, in any depth and direction.

    x (T, B, input_size) or integers (T, B), which stand for one-hot vectors; y (T, B, hidden_size · directions), of a
    bidirectional layer the forward half first.  The state has torch's shape, (num_layers · directions, B, hidden_size)
    with layer by layer forward before reverse: one array, or a tuple of arrays for a cell with more than one (the
    LSTM's ``(h, c)``).  ``dropout`` acts on the output of every layer but the last.

    Weights of layer k are named ``k.W``, ``k.U``, ``k.b`` ..., of its reverse direction ``k.reverse.W`` ...

    ``cell`` is one of ``minirnn.cells`` or follows ``minirnn.protocol`` as they do.
    """

    integers = True

    def __init__(
        self,
        cell: Any,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        bidirectional: bool = False,
        dropout: float = 0.0,
        trainable_state: bool = False,
    ) -> None:
        self.input_size = check_size("input_size", input_size)
        self.hidden_size = check_size("hidden_size", hidden_size)
        check_cell(cell, self.hidden_size)
        self.cell = cell
        self.num_layers = check_size("num_layers", num_layers)
        self.bidirectional, self.trainable_state = bool(bidirectional), bool(trainable_state)
        self.dropout = check_probability("dropout", dropout)
        self.num_directions = 2 if bidirectional else 1
        self.output_size = self.hidden_size * self.num_directions
        self.directions = [
            Direction(
                cell,
                self.input_size if layer == 0 else self.output_size,
                self.hidden_size,
                reverse=bool(reverse),
                trainable_state=self.trainable_state,
            )
            for layer in range(self.num_layers)
            for reverse in range(self.num_directions)
        ]

    def children(self) -> dict[str, Layer]:
        return {
            f"{i // self.num_directions}{'.reverse' if direction.reverse else ''}": direction
            for i, direction in enumerate(self.directions)
        }

    def config(self) -> dict[str, Any]:
        return {
            "cell": self.cell,
            "input_size": self.input_size,
            "hidden_size": self.hidden_size,
            "num_layers": self.num_layers,
            "bidirectional": self.bidirectional,
            "dropout": self.dropout,
            "trainable_state": self.trainable_state,
        }

    def check_state(self, state: State, batch: int, *, cotangent: bool = False) -> State:
        if state is None:
            return None
        names = self.cell.state
        if len(names) == 1:
            arrays: tuple[Any, ...] = (state,)
        elif isinstance(state, (tuple, list)) and len(state) == len(names):
            arrays = tuple(state)
        else:
            raise ValueError(f"{type(self).__name__}'s state must be a tuple ({', '.join(names)}); got {_name(state)}")
        shape, admitted = (len(self.directions), batch, self.hidden_size), []
        for name, value in zip(names, arrays, strict=True):
            if value is None and cotangent:
                array = self.bound.backend.xp.zeros(shape, self.bound.dtype)
            else:
                array = self._admit_floats(f"state {name}", value)
            if array.shape != shape:
                raise ValueError(
                    f"state {name} must have shape (num_layers * directions, B, hidden_size) = {shape}; "
                    f"got {array.shape}"
                )
            admitted.append(array)
        return tuple(admitted) if len(names) > 1 else admitted[0]

    def apply(self, x: Array, state: State, run: Run) -> Result:
        xp, n = run.parameters.backend.xp, self.num_directions
        rows = self._per_direction(state)
        pulls: list[tuple[list[Pull], Pull]] = []
        saved: dict[str, Reader] = {}
        finals: list[State] = []
        names = list(self.children())
        for layer in range(self.num_layers):
            here = range(layer * n, (layer + 1) * n)
            results = [self.directions[i].apply(x, rows[i], run) for i in here]
            x = results[0].y if n == 1 else xp.concatenate([r.y for r in results], axis=-1)
            finals += [r.state for r in results]
            site = f"{self.prefix}{layer}"
            dropped = drop(x, self.dropout if layer + 1 < self.num_layers else 0.0, site, run)
            x = dropped.y
            if run.training:
                pulls.append(([r.pull for r in results], dropped.pull))
                for i, result in zip(here, results, strict=True):
                    saved |= {f"{names[i]}.{name}": read for name, read in result.saved.items()}
                saved |= {f"{layer}.dropout.{name}": read for name, read in dropped.saved.items()}

        def pull(dy: Array | None, dstate: State) -> tuple[Array | None, State]:
            dfinals = self._per_direction(dstate)
            dinitials: list[State] = []
            for layer in reversed(range(self.num_layers)):
                inner, undrop = pulls[layer]
                dy, _ = undrop(dy, None)
                halves = (None,) * n if dy is None else split(dy, n)
                back = [inner[k](halves[k], dfinals[layer * n + k]) for k in range(n)]
                dinitials = [d for _, d in back] + dinitials
                parts = [dx for dx, _ in back if dx is not None]
                dy = sum(parts[1:], start=parts[0]) if parts else None
            return dy, self._stacked(dinitials, xp)

        return Result(x, self._stacked(finals, xp), pull, saved)

    def _per_direction(self, state: State) -> list[Arrays | None]:
        if state is None:
            return [None] * len(self.directions)
        arrays = state if isinstance(state, tuple) else (state,)
        return [tuple(a[i] for a in arrays) for i in range(len(self.directions))]

    def _stacked(self, states: list[Any], xp: Any) -> State:
        arrays = tuple(xp.stack([s[k] for s in states]) for k in range(len(self.cell.state)))
        return arrays if len(arrays) > 1 else arrays[0]


def _name(state: Any) -> str:
    if isinstance(state, (tuple, list)):
        return f"{type(state).__name__} of {len(state)}"
    return f"{type(state).__name__} of shape {getattr(state, 'shape', '?')}"


class RNN(Recurrent):
    """The vanilla network, h' = tanh(x W + h U + b), or relu with ``nonlinearity="relu"``; else as ``Recurrent``."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        nonlinearity: str = "tanh",
        bidirectional: bool = False,
        dropout: float = 0.0,
        trainable_state: bool = False,
    ) -> None:
        cell = _choose("nonlinearity", nonlinearity, {"tanh": TanhCell, "relu": ReluCell})
        self.nonlinearity = nonlinearity
        super().__init__(
            cell,
            input_size,
            hidden_size,
            num_layers,
            bidirectional=bidirectional,
            dropout=dropout,
            trainable_state=trainable_state,
        )

    def config(self) -> dict[str, Any]:
        return _without_cell(super().config()) | {"nonlinearity": self.nonlinearity}


class GRU(Recurrent):
    """The gated recurrent unit; else as ``Recurrent``.

    ``reset="after"`` is the form of torch and cuDNN and has one more weight ``bn (H)``, the bias inside the reset
    product; at zero and frozen, the layer is the chapter's concise GRU.  ``reset="before"`` is the form of the
    paper, and of the chapter's implementation from scratch.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        reset: str = "after",
        bidirectional: bool = False,
        dropout: float = 0.0,
        trainable_state: bool = False,
    ) -> None:
        cell = _choose("reset", reset, {"after": GRUCell, "before": GRUBeforeCell})
        self.reset = reset
        super().__init__(
            cell,
            input_size,
            hidden_size,
            num_layers,
            bidirectional=bidirectional,
            dropout=dropout,
            trainable_state=trainable_state,
        )

    def config(self) -> dict[str, Any]:
        return _without_cell(super().config()) | {"reset": self.reset}


class LSTM(Recurrent):
    """Long short-term memory with state ``(h, c)``; else as ``Recurrent``."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        bidirectional: bool = False,
        dropout: float = 0.0,
        trainable_state: bool = False,
    ) -> None:
        super().__init__(
            LSTMCell,
            input_size,
            hidden_size,
            num_layers,
            bidirectional=bidirectional,
            dropout=dropout,
            trainable_state=trainable_state,
        )

    def config(self) -> dict[str, Any]:
        return _without_cell(super().config())


def _choose(what: str, word: str, choices: dict[str, Any]) -> Any:
    if word not in choices:
        raise ValueError(f"{what} must be one of {', '.join(choices)}; got {word!r}")
    return choices[word]


def _without_cell(config: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name != "cell"}
