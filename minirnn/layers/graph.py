"""A graph of layers: branches, residual sums, several inputs and outputs, states handed from one layer to another.

    x ──▶ GRU ──▶ + ──▶ y          LayerGraph(
    └─────────────▲                    [Entry("x", 3)],
                                       {"gru": GRU(3, 3), "add": Combine("sum")},
                                       [Call("h", "gru", ["x"]), Call("y", "add", ["h", "x"])],
                                       ["y"],
                                   )

Values have names.  A value is read any number of times, and its gradient is the sum of what all readers send back:

    y = f(x), z = g(x)    transposed    dx = fᵀ dy + gᵀ dz
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from minirnn.core.backend import Array, check_indices, on_host
from minirnn.core.edge import as_array, as_floats
from minirnn.core.layer import Layer, blank
from minirnn.core.lengths import check_lengths, ends
from minirnn.core.module import brief
from minirnn.core.run import Result, Run, Saved, State, joined
from minirnn.core.stream import Stream
from minirnn.core.tree import arrays_in
from minirnn.layers.compose import Composite, adopted, check_distinct, ended, indent, settle
from minirnn.layers.joining import Joining, Sizes
from minirnn.layers.wiring import Call, Entry, checked, kinds_of, title

MOST_NUMBERS = 2**26  # a row, of the values that joins make: a file of a few bytes may ask for any number
MOST_STEPS = 2**20  # of one of them
Gradients: TypeAlias = dict[str, Array]  # by the name of a value


class Value(NamedTuple):
    """An array on its way through the graph, and the lengths and mask that go with it."""

    array: Array
    run: Run


class Flow(NamedTuple):
    """What a pass of the graph has made: all values, final states, the transposes of the calls, what was saved."""

    values: dict[str, Value]
    state: State
    pulls: list[tuple[Call, Any]]
    saved: Saved


class LayerGraph(Composite):
    """Layers that read each other's values: a chain with branches, for inference with any inputs and outputs.

    ``outputs, state = graph.run({"x": x, "z": z})`` takes arrays by the names of ``entries``, and gives them by those
    of ``outputs``.  The state is a tuple with one entry a call, None for those without, and for those whose initial
    state is a value of the graph.  A graph of one input and one
    output is a layer as any other: ``y, state = graph(x)``, ``forward`` and its backward pass, a part of a
    ``Sequential``, a stream where it reads forward only.

    ``entries`` are the inputs; ``layers`` are named, and a layer's weights are ``name.…``; ``calls`` are in order: each
    reads entries and what calls before it have made.  A layer that is called several times has one set of weights.
    ``outputs`` are names of values, or a mapping of the outputs' names to those of values.

    Raises ValueError for names that are not there or twice, widths that do not fit, a layer that needs steps where
    there are none.
    """

    def __init__(
        self,
        entries: Iterable[Entry],
        layers: Mapping[str, Layer],
        calls: Iterable[Call],
        outputs: Mapping[str, str] | Sequence[str],
    ) -> None:
        self.entries = tuple(Entry(*entry) for entry in entries)
        self.calls = tuple(checked(call) for call in calls)
        self.outputs = dict(outputs) if isinstance(outputs, Mapping) else {name: name for name in outputs}
        if not self.entries or not self.calls or not self.outputs:
            raise ValueError("LayerGraph expects at least one entry, one call and one output; one of these is missing")
        check_distinct("LayerGraph", tuple(layers.values()))
        for name in layers:
            if not name or "." in name:
                raise ValueError(f"a layer's name must have no dot, and must not be empty; got {name!r:.60}")
        self.layers = dict(zip(layers, adopted("LayerGraph", tuple(layers.values())), strict=True))
        self.kinds = kinds_of(self.entries, self.layers, self.calls, self.outputs.values())
        (entry, *more_in), (output, *more_out) = self.entries, self.outputs.values()
        begins = entry.steps or all(layer.timeless for layer in self.layers.values())
        self.one_way = begins and not more_in and not more_out  # it has one input and one output
        self.input_size, self.output_size = entry.features, self.kinds[output].features
        self.integers, self.floats = entry.indices, not entry.indices
        self.keeps_time = self.kinds[output].timed
        self.timeless = not entry.steps
        self._joins = settle(self)

    # ------------------------------------------------------------------ what is known before a pass

    @property
    def reads_ahead(self) -> bool:
        return super().reads_ahead or any(call.initial for call in self.calls)

    def children(self) -> dict[str, Layer]:
        return self.layers

    def describe(self) -> str:
        lines = [f"  {', '.join(entry.words for entry in self.entries)} -> {', '.join(self.outputs)}"]
        for call in self.calls:
            final = f", ({', '.join(call.final)})" if call.final else ""
            initial = f"; {', '.join(call.initial)}" if call.initial else ""
            lines.append(f"  {call.name}{final} = {call.layer}({', '.join(call.reads)}{initial})")
        lines += [f"  ({name}): {indent(layer.describe())}" for name, layer in self.layers.items()]
        return "\n".join(["LayerGraph(", *lines, ")"])

    def _sizes(self, known: Mapping[str, Sizes]) -> dict[str, Sizes]:
        """How many steps and features each value has; ValueError where a layer needs others, or they are too many."""
        numbers = 0

        def through(layer: Layer, read: list[Sizes]) -> Sizes:
            nonlocal numbers
            if isinstance(layer, Joining):
                made = layer.sizes(read)
                numbers += (made.steps or 1) * (made.features or 1)
                if (made.steps or 0) > MOST_STEPS:
                    raise ValueError(f"a join may make {MOST_STEPS:,} steps; it would make {made.steps:,}")
                if numbers > MOST_NUMBERS:
                    raise ValueError(f"values may have {MOST_NUMBERS:,} numbers a row together; with these it is more")
                return made
            T, D = read[0]
            if None not in (D, layer.input_size) and D != layer.input_size:
                raise ValueError(f"{brief(layer):.200} expects {layer.input_size} features; got {D}")
            after = layer.check_steps(T) if T is not None else None
            return Sizes(after if layer.keeps_time else None, layer.output_size or D)

        sizes = dict(known)
        for call in self.calls:
            try:
                sizes[call.name] = through(self.layers[call.layer], [sizes[name] for name in call.reads])
            except ValueError as error:
                raise ValueError(f"{title(call)}: {error}") from None
            sizes |= {name: Sizes(None, self.kinds[name].features) for name in call.final}
        return sizes

    def check_steps(self, T: int) -> int:
        self._only("check_steps")
        (entry,) = self.entries
        known = {
            entry.name: Sizes(T if self.kinds[entry.name].timed else None, None if entry.indices else entry.features)
        }
        return self._sizes(known)[next(iter(self.outputs.values()))].steps or T

    def output_lengths(self, lengths: Any) -> Any:
        self._only("output_lengths")

        known: dict[str, Any] = {self.entries[0].name: lengths}
        for call in self.calls:
            before = next((known[name] for name in call.reads if known.get(name) is not None), None)
            timed = before is not None and self.kinds[call.name].timed
            known[call.name] = self.layers[call.layer].output_lengths(before) if timed else None
        after = known.get(next(iter(self.outputs.values())))
        return lengths if after is None else after

    # ------------------------------------------------------------------ passes

    def check_state(self, state: State, batch: int, *, cotangent: bool = False) -> State:
        state = (None,) * len(self.calls) if state is None else state
        if not isinstance(state, (tuple, list)) or len(state) != len(self.calls):
            raise ValueError(
                f"a LayerGraph's state is a tuple with one entry a call, here {len(self.calls)}; "
                f"got {type(state).__name__}{f' of {len(state)}' if isinstance(state, (tuple, list)) else ''}"
            )
        admitted = []
        for call, own in zip(self.calls, state, strict=True):
            if call.initial and own is not None:
                raise ValueError(f"{title(call)} begins with a state that the graph gives: expected None")
            admitted.append(self.layers[call.layer].check_state(own, batch, cotangent=cotangent))
        return tuple(admitted)

    def run(
        self,
        inputs: Mapping[str, Any],
        state: State = None,
        *,
        lengths: Any = None,
        batch_first: bool | None = None,
    ) -> tuple[dict[str, Array], State]:
        """Inference: the outputs by name, and the final state.

        ``inputs`` has an array for each entry, all of one number of rows.  ``lengths`` (B,) is for all entries with
        steps, or a mapping for some of them.  With ``batch_first`` arrays with steps are (B, T, ...), in and out.
        """
        first, parameters = self.bound.batch_first if batch_first is None else batch_first, self.bound
        names = [entry.name for entry in self.entries]
        if not isinstance(inputs, Mapping) or set(inputs) != set(names):
            came = ", ".join(map(str, inputs)) if isinstance(inputs, Mapping) else type(inputs).__name__
            raise ValueError(f"this graph takes arrays by name, {', '.join(names)}; got {came or 'none'}")
        arrays = {entry.name: self._admit_entry(entry, inputs[entry.name], first) for entry in self.entries}
        rows = {
            array.shape[1] if entry.steps or entry.indices else len(array)
            for entry, array in zip(self.entries, arrays.values(), strict=True)
        }
        if len(rows) > 1:
            raise ValueError(f"all inputs must have one number of rows; got {', '.join(map(str, sorted(rows)))}")
        (batch,) = rows
        own = lengths if isinstance(lengths, Mapping) else dict.fromkeys(names, lengths)
        if set(own) - set(names):
            raise ValueError(f"lengths are for the inputs {', '.join(names)}; got {', '.join(map(str, own))}")
        if lengths is not None and not self.takes_lengths:
            raise ValueError(f"{brief(self):.200} takes rows of one length, without lengths")
        self._sizes(
            {
                entry.name: Sizes(
                    len(arrays[entry.name]) if self.kinds[entry.name].timed else None,
                    None if entry.indices else arrays[entry.name].shape[-1],
                )
                for entry in self.entries
            }
        )
        state = self.check_state(state, batch)
        values = {}
        for entry in self.entries:
            run, x = Run(parameters, False, 0), arrays[entry.name]  # noqa: FBT003 - fields of a Run
            valid = own.get(entry.name)
            if valid is not None and self.kinds[entry.name].timed:
                asarray = parameters.backend.xp.asarray
                past, flipped = map(asarray, ends(check_lengths(valid, len(x), batch), len(x)))
                run, x = run._replace(past=past, flipped=flipped), blank(x, past)
            if entry.indices and on_host(x):
                check_indices(f"input {entry.name!r}", x, entry.features or 0)
            values[entry.name] = Value(x, run)
        flow = self._pass(values, state)
        made: dict[str, Array] = {}
        for name, place in self.outputs.items():
            y, run = flow.values[place]
            timed = self.kinds[place].timed
            y = blank(y, run.past) if timed and run.past is not None else y
            y = y.copy() if any(y is x for x in (*arrays.values(), *made.values())) else y
            made[name] = y.swapaxes(0, 1) if first and timed and y.ndim > 2 else y
        return made, flow.state

    def _admit_entry(self, entry: Entry, value: Any, first: bool) -> Array:  # noqa: FBT001 - of a call's own
        """One input with its shape checked, time first and in the model's dtype."""
        what, backend, dtype = f"input {entry.name!r}", self.bound.backend, self.bound.dtype
        array = as_array(backend, what, value) if entry.indices else as_floats(backend, dtype, what, value)
        order = "B, T" if first else "T, B"
        axes = f"integers ({order})" if entry.indices else f"({order if entry.steps else 'B'}, features)"
        wanted = 2 if entry.indices or not entry.steps else 3
        if array.ndim != wanted or (entry.indices and array.dtype.kind not in "iu"):
            raise ValueError(f"{what} must be {axes}; got {array.dtype} of shape {array.shape}")
        if not entry.indices and entry.features not in (None, array.shape[-1]):
            raise ValueError(f"{what} must have {entry.features} features; got shape {array.shape}")
        array = array.swapaxes(0, 1) if first and self.kinds[entry.name].timed else array
        if not len(array) and self.kinds[entry.name].timed:
            raise ValueError(f"{what} must have at least one step; got shape {array.shape}")
        return array if entry.indices else self._in_dtype(what, array)

    def apply(self, x: Array, state: State, run: Run) -> Result:
        self._only("a pass of one array")
        (entry,), (output,) = self.entries, self.outputs.values()
        if not self.kinds[entry.name].timed and x.ndim != 2:
            raise ValueError(f"{entry.words} is what this graph takes; got shape {x.shape}")
        flow = self._pass({entry.name: Value(x, run)}, state)
        y, after = flow.values[output]

        def pull(dy: Array | None, dstate: State) -> tuple[Array | None, State]:
            gradients, dinitial = self._pull(flow, {} if dy is None else {output: dy}, dstate)
            return gradients.get(entry.name), dinitial

        return Result(y, flow.state, pull, flow.saved, after if self.keeps_time else run)

    def _pass(self, values: dict[str, Value], state: State) -> Flow:
        """All calls in order."""
        values, finals, pulls = dict(values), list[State](), list[tuple[Call, Any]]()
        parts: list[tuple[str, Saved]] = []
        outer = next(iter(values.values())).run
        for call, given in zip(self.calls, state, strict=True):
            layer, read = self.layers[call.layer], [values[name] for name in call.reads]
            pull: Any
            if isinstance(layer, Joining):
                try:
                    y, pull, after = layer.join([value.array for value in read], [value.run for value in read])
                except ValueError as error:
                    raise ValueError(f"{title(call)}: {error}") from None
                final = None
            else:
                (x, run), initial = read[0], self._begin(layer, call, values) if call.initial else given
                y, final, pull, saved, changed = layer.apply(x, initial, run)
                after = changed or run
                if run.training:
                    parts.append((call.name, saved if run.past is outer.past else ended(saved, run)))
            if not self.kinds[call.name].timed:  # there is nothing left to skip
                after = after._replace(past=None, flipped=None, skip=None)
            values[call.name] = Value(y, after)
            finals.append(None if call.initial else final)
            pulls.append((call, pull))
            if call.final:
                still = outer._replace(past=None, flipped=None, skip=None)
                arrays = list(arrays_in(final))
                each = [a[k] for k in range(len(arrays[0])) for a in arrays]
                values |= {name: Value(a, still) for name, a in zip(call.final, each, strict=True)}
        return Flow(values, tuple(finals), pulls, joined(parts))

    def _begin(self, layer: Layer, call: Call, values: Mapping[str, Value]) -> State:
        """The state that a layer begins with, of the values that are named for it."""
        arrays, xp = [values[name].array for name in call.initial], self.bound.backend.xp
        count = len(layer.state_shapes(1))
        stacked = [xp.stack(arrays[k::count]) for k in range(count)]
        return stacked[0] if count == 1 else tuple(stacked)

    def _pull(self, flow: Flow, gradients: Mapping[str, Array], dstate: State) -> tuple[Gradients, State]:
        """The transposes of the calls in reverse: a value's gradient is the sum of what its readers send back."""
        d = dict(gradients)
        dinitials: list[State] = []

        def add(name: str, gradient: Array | None) -> None:
            if gradient is not None:
                d[name] = d[name] + gradient if name in d else gradient

        xp = self.bound.backend.xp
        for (call, pull), dgiven in zip(reversed(flow.pulls), reversed(dstate), strict=True):
            layer, dy, dfinal, dinitial = self.layers[call.layer], d.pop(call.name, None), dgiven, None
            if isinstance(layer, Joining):
                for name, gradient in zip(call.reads, pull(dy), strict=True):
                    add(name, gradient)
            else:
                ends_in = [d.pop(name, None) for name in call.final]
                if any(one is not None for one in ends_in):
                    shapes = layer.state_shapes(_rows(flow.values[call.name].array))
                    dtype = self.bound.dtype
                    from_readers = []
                    for k, shape in enumerate(shapes):
                        own = ends_in[k :: len(shapes)]
                        from_readers.append(
                            xp.stack([xp.zeros(shape[1:], dtype) if one is None else one for one in own])
                        )
                    from_caller = [None] * len(shapes) if dgiven is None else list(arrays_in(dgiven))
                    sums = [a if b is None else a + b for a, b in zip(from_readers, from_caller, strict=True)]
                    dfinal = sums[0] if len(sums) == 1 else tuple(sums)
                dx, dinitial = pull(dy, dfinal)
                add(call.reads[0], dx)
                if call.initial:
                    arrays = list(arrays_in(dinitial))
                    each = [a[k] for k in range(len(arrays[0])) for a in arrays] if arrays else []
                    for name, gradient in zip(call.initial, each, strict=False):
                        add(name, gradient)
                    dinitial = None
            dinitials.append(dinitial)
        return d, tuple(reversed(dinitials))

    # ------------------------------------------------------------------ what takes one input and one output

    def _only(self, what: str) -> None:
        if not self.one_way:
            raise ValueError(
                f"{what} needs a graph of one input and one output; this one takes "
                f"{', '.join(entry.words for entry in self.entries)} and gives {', '.join(self.outputs)}: "
                "graph.run({...})"
            )

    def _admit(self, *args: Any, **options: Any) -> tuple[Array, State, Run]:
        self._only("training" if options.get("training") else "a call with one array")
        return super()._admit(*args, **options)

    def stream(self, batch_size: int = 1) -> Stream:
        self._only("a stream")
        return super().stream(batch_size)


def _rows(y: Array) -> int:
    return int(y.shape[-2])
