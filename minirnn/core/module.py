"""The half of a layer that owns weights: how they are laid out, named, copied, frozen and shown."""

import copy
import inspect
from collections.abc import Iterator
from math import prod
from numbers import Integral
from typing import Any, Self

from minirnn.core.backend import Array, get_backend, get_compute, get_dtype
from minirnn.core.parameters import Parameters, Scheme, Spec, Views


class Weighted:
    """Something with weights of its own and of the parts it is made of, all in the flat vectors of one ``Parameters``.

    ``prefix`` is where this part stands in the model, ``""`` for the model itself; names are relative to it.
    """

    parameters: Parameters | None = None
    prefix: str = ""
    inference_only: str = ""  # why there is no backward pass; "": there is one
    _prepared_for: Parameters | None = None  # the weights for which a layer has prepared what does not change

    # ------------------------------------------------------------------ what a layer of its own kind defines

    def specs(self) -> dict[str, Spec]:
        """The layer's own weights by local name."""
        return {}

    def children(self) -> "dict[str, Any]":
        """The layers this one is made of, by the name they have in dotted weight names."""
        return {}

    def partners(self) -> "tuple[Weighted, ...]":
        """Layers elsewhere in the model whose weights this one uses."""
        return ()

    in_parts: bool = False  # whether a table of layers has rows for this layer's children, and none for itself
    arguments: tuple[str, ...] = ()  # of the constructor, by the names of the attributes that hold them

    def config(self) -> dict[str, Any]:
        """The constructor's arguments that build this layer again."""
        return {name: getattr(self, name) for name in self.arguments}

    def remarks(self) -> list[str]:
        """Sentences that ``repr`` shows below the weights."""
        return []

    # ------------------------------------------------------------------ allocation

    def init(
        self,
        seed: int = 0,
        *,
        scheme: Scheme = "uniform",
        backend: str | None = None,
        dtype: Any = None,
        compute: str | None = None,
        overwrite: bool = False,
    ) -> Self:
        """Allocate the weights of this layer and all in it, draw them from ``seed``, and return the layer.

        ``scheme`` is ``"uniform"`` (torch's), ``"normal"`` (the chapter's: deviation 0.01, biases 0) or
        ``"orthogonal"``; see ``minirnn.core.parameters.initial``.  The same seed gives the same weights in every
        dtype, to rounding, and on every backend.  ``backend`` None is ``"auto"``, ``dtype`` None is float32.

        With ``compute="bfloat16"`` products round their numbers to bfloat16 and add in float32, forward, backward and
        for the gradients of the weights; all else is float32.  None is ``dtype``.

        In a model made of layers of which some have weights already, these keep them: only the others are drawn, and
        None is the backend, the dtype and the products of those that are kept.

        A second ``init`` draws anew, into the same vectors where backend and dtype are the same.  Where a weight is not
        as ``init`` drew it (it was loaded, trained, or written by hand) that would lose it: ValueError, unless
        ``overwrite`` says that all weights are to be drawn, whatever they are.
        """
        if isinstance(seed, bool) or not isinstance(seed, Integral) or not 0 <= seed < 2**64:
            raise ValueError(f"seed must be an integer from 0 to 2**64 - 1; got {seed!r}")
        self.check_whole("init")
        old, specs = self.parameters, self.all_specs()
        sources = self.sources() if old is None and not overwrite else {}
        if old is not None and not overwrite:
            self._check_as_drawn(old)
        like = next((source for source, _ in sources.values()), None)
        if like is not None and like.quantized:
            raise ValueError(f"init cannot add weights to layers quantised to {like.quantized}: quantise the whole")
        dtype = dtype if dtype is not None else like.dtype if like else "float32"
        chosen = get_backend(backend or (like.backend.name if like else "auto"), dtype)
        wanted = get_dtype(chosen, dtype)
        products = get_compute(chosen, wanted, like.compute if like and compute is None else compute)
        layout = specs, chosen, wanted, products
        parameters = old if old and old.fits(*layout) else Parameters(*layout)
        parameters.take(sources)
        parameters.fill(int(seed), scheme, sources)
        self.bind(parameters)
        return self

    def _check_as_drawn(self, parameters: Parameters) -> None:
        """Raise ValueError where drawing anew would lose weights that have come from elsewhere."""
        changed = parameters.changed()
        if changed:
            more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
            raise ValueError(
                f"init would lose weights that were loaded, trained or written ({changed[0]}{more}); nothing was "
                f"changed. To start afresh build a new model; overwrite=True draws over these weights all the same"
            )

    def sources(self) -> dict[str, tuple[Parameters, str]]:
        """Of each weight that has a value, by name: the parameters that hold it, and its name there."""
        sources = {}
        if self.parameters is not None:
            sources = {name: (self.parameters, self.prefix + name) for name in self.specs()}
        for name, child in self.children().items():
            sources |= {f"{name}.{key}": source for key, source in child.sources().items()}
        return sources

    def check_whole(self, what: str) -> None:
        """Raise ValueError unless this is a whole model: no part of another, and with all the layers it needs."""
        if self.prefix:
            raise ValueError(
                f"{what} takes a whole model; {brief(self)} is part of a larger one (its to() is a copy on its own)"
            )
        inside = list(self.walk())
        if len({id(layer) for layer in inside}) < len(inside):
            raise ValueError(f"{brief(self)} has one layer in two places; each place needs a layer of its own")
        whole: list[Parameters | None] = [self.parameters]  # of models that this one has taken in whole
        for layer in inside:
            if not layer.prefix:
                whole.append(layer.parameters)
            elif not any(layer.parameters is known for known in whole):
                raise ValueError(
                    f"{brief(layer)} is part of another model already; each model needs layers of its own "
                    f"(made now, this one would get a copy of that layer, weights included)"
                )
        self.check_partners()

    def check_partners(self) -> None:
        """Raise ValueError where a layer in here uses the weights of one that is not."""
        inside = list(self.walk())
        for layer in inside:
            for other in layer.partners():
                if not any(other is one for one in inside):
                    raise ValueError(f"{brief(layer)} needs {brief(other)} to be part of the same model")

    def has_some(self) -> bool:
        """Whether a layer in here has weights."""
        return self.parameters is not None or any(child.has_some() for child in self.children().values())

    def missing(self) -> "Weighted | None":
        """The first layer in here of which no weight has a value; None where all have one."""
        return next((layer for layer in self.walk() if layer.all_specs() and not layer.sources()), None)

    def walk(self) -> "Iterator[Weighted]":
        """The layer and all in it, depth first."""
        waiting: list[Weighted] = [self]
        while waiting:
            layer = waiting.pop()
            yield layer
            waiting += reversed(layer.children().values())

    def all_specs(self, prefix: str = "") -> dict[str, Spec]:
        """The weights that this layer and all in it ask for, by dotted name."""
        specs = {prefix + name: spec for name, spec in self.specs().items()}
        for name, child in self.children().items():
            specs |= child.all_specs(f"{prefix}{name}.")
        return specs

    def bind(self, parameters: Parameters, prefix: str = "") -> None:
        """Give this layer, and all in it, the parameters laid out for it; a backward pending on others is an error."""
        if self.parameters is not None and self.parameters is not parameters:
            self.parameters.updates += 1
            self.parameters.parted = True
        self.parameters, self.prefix, self._prepared_for = parameters, prefix, None
        if self.inference_only:
            parameters.inference_only[prefix] = f"{brief(self)} is for inference only, model(x): {self.inference_only}"
        for name, child in self.children().items():
            child.bind(parameters, f"{prefix}{name}.")

    @property
    def bound(self) -> Parameters:
        """The parameters, or an error that says how to get some."""
        if self.parameters is None:
            missing = self.missing()
            if missing is not self and self.sources():
                raise RuntimeError(
                    f"{brief(missing or self)} has no weights yet: call init() on the whole model first; "
                    f"it draws those that are missing, and layers that have weights keep them"
                )
            raise RuntimeError(f"{type(self).__name__} has no weights yet: call init() on the whole model first")
        return self.parameters

    # ------------------------------------------------------------------ weights and gradients

    def weight(self, name: str) -> Any:
        """The layer's own weight of this local name."""
        return self.bound.view(self.bound.weights, self.prefix + name)

    def grad(self, name: str) -> Array:
        """Its gradient."""
        gradient: Array = self.bound.view(self.bound.grads, self.prefix + name)
        return gradient

    def _flat(self, parameters: Parameters, vector: Array) -> Array:
        """The layer's stretch of a flat vector; a layer's names stand side by side."""
        if parameters.quantized:
            raise ValueError(
                f"a model quantised to {parameters.quantized} has no flat vector of weights and no gradients; "
                f"named_weights() has its matrices"
            )
        if not self.prefix:
            return vector
        own = [parameters.slots[name] for name in self.all_specs(self.prefix)]
        return vector[own[0].offset : own[-1].end] if own else vector[:0]

    @property
    def weights(self) -> Array:
        """All weights as one flat vector, written in place: ``model.weights[...] = vector``."""
        bound = self.bound
        return self._flat(bound, bound.weights)

    @weights.setter
    def weights(self, value: Array) -> None:
        self.weights[...] = self.bound.backend.xp.asarray(value)
        self.bound.clear_gaps()

    @property
    def grads(self) -> Array:
        """All gradients as one flat vector, laid out as ``weights``."""
        bound = self.bound
        return self._flat(bound, bound.grads)

    @grads.setter
    def grads(self, value: Array) -> None:
        self.grads[...] = self.bound.backend.xp.asarray(value)
        self.bound.clear_gaps()

    def named_weights(self, *, gates: bool = False) -> Views:
        """Views of ``weights`` by dotted name: ``"1.0.W"``.

        Assigning to a name, or writing into its view, writes the weight: ``model.named_weights()["1.0.b"] = 0``.
        Single gates are found under the chapter's names, ``"1.0.W_xz"``, ``"1.0.W_hz"``, ``"1.0.b_z"``, and with
        ``gates=True`` they are listed in place of the fused weights.
        """
        return self.bound.named(self.bound.weights, self.all_specs(), self.prefix, gates=gates)

    def named_grads(self, *, gates: bool = False) -> Views:
        """Views of ``grads`` under the names of ``named_weights``."""
        return self.bound.named(self.bound.grads, self.all_specs(), self.prefix, gates=gates)

    def zero_grads(self) -> None:
        """Set all gradients to 0; a backward pass in another thread is waited for."""
        with self.bound.changing:
            self.grads[...] = 0

    def freeze(self, *names: str) -> Self:
        """Take weights out of training: of the clipping norm, weight decay and updates.

        Each name is a weight (``"1.0.bn"``) or a layer (``"1"``: all of its weights); no names: everything here.
        """
        self.bound.frozen |= self._chosen(names)
        return self

    def unfreeze(self, *names: str) -> Self:
        """Undo ``freeze``."""
        self.bound.frozen -= self._chosen(names)
        return self

    def _chosen(self, names: tuple[str, ...]) -> set[str]:
        own, chosen = list(self.all_specs()), set()
        for name in names or ("",):
            matches = [known for known in own if not name or known == name or known.startswith(f"{name}.")]
            if not matches and name:
                raise ValueError(f"no weight or layer is called {name!r}; the weights are {', '.join(own)}")
            chosen |= {self.prefix + known for known in matches}
        return chosen

    # ------------------------------------------------------------------ copies

    def to(self, *, backend: str | None = None, dtype: Any = None, compute: str | None = None) -> Self:
        """A copy, weights included and gradients zero, on another backend or in another dtype.

        ``compute`` is as in ``init``; None keeps it, but with another ``dtype`` products are in that.  Of a layer that
        is part of a model it is a copy on its own.
        """
        old = self.bound
        chosen = get_backend(backend or old.backend.name)
        wanted = get_dtype(chosen, old.dtype if dtype is None else dtype)
        products = get_compute(chosen, wanted, old.compute if compute is None and wanted == old.dtype else compute)
        if self.prefix:
            self.check_partners()
            alone = self._copy_with(old.gathered(self.all_specs(), self.sources()))
            same = (chosen, wanted, products) == (old.backend, old.dtype, old.compute)
            return alone if same else alone.to(backend=backend, dtype=dtype, compute=compute)
        self.check_whole("to")
        return self._copy_with(old.on(chosen, wanted, products))

    def quantize(self, kind: str) -> Self:
        """A copy for inference whose matrices take fewer bytes: ``"int8"`` a quarter, ``"f16"`` or ``"bf16"`` half.

        The copy can be called, streamed and saved; it cannot be trained.  int8 has one scale for each column of a
        matrix (each row of an Embedding), and its products round each row that a matrix multiplies to int8, too.  bf16
        has the range of float32; its products round what a matrix multiplies, as those of ``compute="bfloat16"`` do.
        All else is float32.  See ``minirnn.inference.quantize``.
        """
        from minirnn.inference.quantize import narrowed  # quantisation stands above layers

        self.check_whole("quantize")
        return self._copy_with(narrowed(self.bound, self.all_specs(), kind))

    def _copy_with(self, new: Parameters) -> Self:
        old = self.bound
        new.seed, new.calls = old.seed, old.calls
        if not self.prefix:
            new.frozen, new.batch_first = set(old.frozen), old.batch_first
        model = copy.deepcopy(self, {id(old): None})
        model.bind(new)
        return model

    # ------------------------------------------------------------------ what a reader sees

    def describe(self) -> str:
        """The layer as its constructor call, arguments at their defaults left out."""

        def word(value: object) -> str:
            if isinstance(value, Weighted):
                return value.describe()
            return value.__name__ if isinstance(value, type) else repr(value)

        config = self.config()
        if not config:  # and, it may be, no __init__ to look at
            return f"{type(self).__name__}()"
        defaults = {name: p.default for name, p in inspect.signature(type(self)).parameters.items()}
        words = [
            word(value) if defaults[name] is inspect.Parameter.empty else f"{name}={word(value)}"
            for name, value in config.items()
            if value != defaults[name]
        ]
        return f"{type(self).__name__}({', '.join(words)})"

    def __repr__(self) -> str:
        """The constructor call, and below it each weight's name, shape and size, and where they are."""
        rows = [(name, str(spec.shape), f"{prod(spec.shape):,}") for name, spec in self.all_specs().items()]
        widths = [max((len(row[k]) for row in rows), default=0) for k in range(3)]
        lines = [f"  {n:{widths[0]}}  {shape:{widths[1]}}  {size:>{widths[2]}}" for n, shape, size in rows]
        return "\n".join([self.describe(), *lines, *(f"  {line}" for line in self._below())])

    def _repr_html_(self) -> str:
        """A table of the layers, for a notebook."""
        from minirnn.core.display import table  # what is imported for a notebook only

        rows = [
            (
                name,
                layer.describe(),
                "\n".join(f"{weight} {spec.shape}" for weight, spec in layer.all_specs().items()),
                f"{size_of(layer):,}",
            )
            for name, layer in self.table_of_layers()
        ]
        return table(("name", "layer", "weights", "parameters"), rows, below=self._below())

    def table_of_layers(self, prefix: str = "") -> "Iterator[tuple[str, Weighted]]":
        """The layers that this one is made of, by dotted name; itself where ``in_parts`` does not say so."""
        if not self.in_parts:
            yield prefix, self
        else:
            for name, child in self.children().items():
                yield from child.table_of_layers(f"{prefix}.{name}" if prefix else name)

    def _below(self) -> list[str]:
        """What stands below the weights: how many numbers they are, where they are, and remarks."""
        p = self.parameters
        where = f"{p.numbers}, backend {p.backend.name}" if p else "not allocated yet: init()"
        if p is None and self.sources():
            where = "not all allocated yet: init() draws those that are missing"
        remarks = dict.fromkeys(remark for layer in self.walk() for remark in layer.remarks())
        return [f"{size_of(self):,} parameters, {where}", *remarks]


def size_of(layer: Weighted) -> int:
    """How many numbers the weights of a layer, and of all in it, are."""
    return sum(prod(spec.shape) for spec in layer.all_specs().values())


def brief(layer: Weighted) -> str:
    """A description in one line, for an error's sentence."""
    return " ".join(layer.describe().split())
