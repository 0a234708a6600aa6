"""TorchScript's code followed as data: what it makes of its inputs, symbol by symbol; nothing of it runs.

What is followed are assignments and returns of calls.  A method that branches is given up.
"""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from minirnn.formats.containers.pickle import Foreign
from minirnn.formats.torch.attending import ATTENTION, attributes
from minirnn.formats.torch.code import WORDS, ClassCode, number, parsed
from minirnn.formats.torch.operations import call
from minirnn.formats.torch.outline import CLASSES, Outline, Settings, batched, settings
from minirnn.formats.torch.pickled import View
from minirnn.formats.torch.records import RECURRENT, scripted, walked
from minirnn.formats.torch.rules import attention, recurrent
from minirnn.formats.torch.tracing import NotFollowedError, Tensor, Trace, Unknown, Value, Weight

MOST_LINES = 2**14  # that are followed
LONGEST_LINE = 2**16  # letters in one
MOST_TOKENS = 2**18  # words in them
DEEPEST = 60  # calls within calls, and brackets within brackets
FUNCTIONAL = {  # arguments of torch.nn.functional that count; those behind them are about how it is computed
    "dropout": 2, "softmax": 2, "log_softmax": 2, "leaky_relu": 2, "elu": 2, "hardtanh": 3, "threshold": 3,
    "_threshold": 3, "softplus": 3, "gelu": 2, "embedding": 2, "linear": 3, "layer_norm": 5, "prelu": 2,
    "adaptive_avg_pool1d": 2, "adaptive_max_pool1d": 2, "_adaptive_max_pool1d": 2,
}  # fmt: skip
ACTIVATIONS = "__torch__.torch.nn.modules.activation"
LIBRARY = "__torch__.torch.nn.functional."

_TOKEN = re.compile(r'\s*(?:([A-Za-z_]\w*)|(\d[\d.]*(?:[eE][-+]?\d+)?)|"([^"\\]*(?:\\.[^"\\]*)*)"|([][(){},.=:-]))')
_ASSIGNED = re.compile(r"((?:\w+, ?)*\w+,?) = ")


class ScriptModule(NamedTuple):
    """A module of the program: its path, and the object that has its class and attributes."""

    path: str
    record: Foreign


class Method(NamedTuple):
    """A method of a module, to be called."""

    owner: ScriptModule
    name: str


class Dotted(NamedTuple):
    """A name of the library's, ``torch.relu`` for example."""

    name: str


def outline(root: Foreign, code: Callable[[str], str | None]) -> Outline:
    """What a program says of its computation; ``code`` gives the text of a file by the name of its module.

    Where not all of it is layers, the outline says why, and has hyperparameters alone.
    """
    program = Program(code)
    whole = ScriptModule("", root)
    try:
        return program.trace.outline(program.enter(whole))
    except NotFollowedError as error:
        remark = f"modules compute in the order of the file, since not all of its code is layers: {error!s:.200}"
        return Outline(settings=program.hyperparameters(whole), remarks=(remark,), about=program.trace.about)


class Program:
    """The code of a program, and what its calls make of values."""

    def __init__(self, code: Callable[[str], str | None]) -> None:
        self.code = code
        self.trace = Trace()
        self.files: dict[str, dict[str, ClassCode]] = {}
        self.lines, self.words = MOST_LINES, MOST_TOKENS
        self.depth = 0  # of values within values, through calls too

    def enter(self, root: ScriptModule) -> Value:
        """What the program makes of its arguments."""
        body = self.class_of(root).methods.get("forward")
        if body is None:
            raise NotFollowedError("it has no forward")
        inputs = [
            None if default.strip() == "None" else self.trace.input(name)
            for name, default in list(body.parameters.items())[1:]
        ]
        return self.call(Method(root, "forward"), inputs)

    def hyperparameters(self, root: ScriptModule) -> dict[str, Settings]:
        """Those of the recurrent modules that were met, and of those whose classes have them as constants."""
        known = dict(self.trace.settings)
        for record in walked(root.record, "the program", scripted):
            if record.kind.name in RECURRENT and record.path not in known:
                with suppress(NotFollowedError, ValueError):
                    own = self.class_of(ScriptModule(record.path, record.kind))
                    if "mode" in own.constants:
                        known[record.path] = settings(record.kind.name, own.constants)
        return known

    def class_of(self, module: ScriptModule) -> ClassCode:
        """The code of a module's class."""
        where, name = module.record.module, module.record.name
        if where not in self.files:
            text = self.code(where)
            if text is None:
                raise NotFollowedError(f"the code of {where!r:.60} is not in the file")
            self.files[where] = parsed(text)
        if name not in self.files[where]:
            raise NotFollowedError(f"the code of {name!r:.60} is not in the file")
        return self.files[where][name]

    def call(self, method: Method, arguments: list[Value]) -> Value:
        """What a method returns."""
        own, name = self.class_of(method.owner), method.owner.record.name
        if name in RECURRENT and "mode" in own.constants:
            return self.recurrent(method, own.constants, arguments)
        of_torch = method.owner.record.module.startswith(ACTIVATIONS)
        if of_torch and name == ATTENTION and "batch_first" in own.constants and len(arguments) > 2:
            return self.attention(method, own.constants, arguments)
        if name == "BatchNorm1d" and "eps" in own.constants and arguments:
            weights = [self.attribute(method.owner, one) for one in ("weight", "bias", "running_mean", "running_var")]
            return call(self.trace, "batch_norm", [arguments[0], *weights, False, 0.1, own.constants["eps"]], {})
        if of_torch and len(CLASSES.get(name, ())) == 1 and arguments and isinstance(arguments[0], Tensor):
            return call(self.trace, CLASSES[name][0], arguments[:1], {})  # some are computed in several steps
        body = own.methods.get(method.name)
        if body is None:
            raise NotFollowedError(f"{name!r:.40} has no method {method.name!r:.40}")
        names: dict[str, Value] = dict.fromkeys(body.parameters)
        names |= dict(zip(body.parameters, [method.owner, *arguments], strict=False))
        return self.follow(body.lines, names, name)

    def follow(self, lines: list[str], names: dict[str, Value], what: str) -> Value:
        """The value that the lines of a method return."""
        for line in lines:
            self.lines -= 1
            if self.lines < 0:
                raise NotFollowedError(f"it has more than {MOST_LINES:,} lines")
            if len(line) > LONGEST_LINE:
                raise NotFollowedError(f"a line of its code has {len(line):,} letters")
            assigned = _ASSIGNED.match(line)
            if line.startswith("return "):
                return Reader(self, line[len("return ") :], names).whole()
            if not assigned:
                raise NotFollowedError(f"{what!r:.40} does more than call modules, in the line {line!r:.60}")
            targets = [name.strip() for name in assigned[1].split(",") if name.strip()]
            value = Reader(self, line[assigned.end() :], names).whole()
            if len(targets) == 1 and not assigned[1].rstrip().endswith(","):
                names[targets[0]] = value
            elif type(value) in (list, tuple) and len(value) == len(targets):
                names |= dict(zip(targets, value, strict=True))
            else:
                names |= dict.fromkeys(targets, value if isinstance(value, Unknown) else Unknown("values are split"))
        return None

    def recurrent(self, method: Method, constants: Mapping[str, Any], arguments: list[Value]) -> Value:
        """What a recurrent module of torch's makes, whose hyperparameters are constants of its class.

        Its code branches, for inputs of other kinds.
        """
        if method.name not in ("forward", "forward__0") or not arguments:
            return Unknown(f"{method.owner.path!r:.60} reads packed sequences")
        x, *hx = arguments
        if isinstance(x, Unknown) or not isinstance(x, Tensor):
            return x if isinstance(x, Unknown) else Unknown(f"{method.owner.path!r:.60} reads what is no tensor")
        try:
            own = settings(method.owner.record.name, constants)
        except ValueError as error:
            raise NotFollowedError(str(error)) from None
        return recurrent(self.trace, x, hx[0] if hx else None, method.owner.path, own)

    def attention(self, method: Method, constants: Mapping[str, Any], arguments: list[Value]) -> Value:
        """What a MultiheadAttention makes, whose code branches too; some of its attributes are no constants."""
        try:
            about, batch_first = attributes(method.owner.record.state or {}), batched(constants).batch_first
        except ValueError as error:
            raise NotFollowedError(str(error)) from None
        masks = [one for one in arguments[3:] if type(one) is not bool]
        return attention(self.trace, arguments[:3], method.owner.path, about, batch_first=batch_first, masks=masks)

    def attribute(self, owner: Value, name: str) -> Value:
        """``owner.name``."""
        if isinstance(owner, Dotted):
            return Dotted(f"{owner.name}.{name}"[:200])
        if not isinstance(owner, ScriptModule):
            return Unknown(f"an attribute {name!r:.40} of a tensor is used")
        value = (owner.record.state or {}).get(name)
        path = f"{owner.path}.{name}" if owner.path else name
        if type(value) is View:
            return Weight(path)
        if type(value) is Foreign:
            return ScriptModule(path, value)
        if name in (owner.record.state or {}):
            return value if value is None or type(value) in (bool, int, float) else Unknown(f"{path!r:.60} is used")
        return Method(owner, name)

    def apply(self, function: Value, arguments: list[Value], named: dict[str, Value]) -> Value:
        """``function(*arguments, **named)``."""
        if isinstance(function, Method):
            return self.call(function, arguments)
        if not isinstance(function, Dotted):
            return function if isinstance(function, Unknown) else Unknown("a value is called")
        whole = function.name
        if whole.startswith(LIBRARY):
            name = whole.removeprefix(LIBRARY)
            arguments = arguments[: FUNCTIONAL.get(name, 1)]
            if name == "embedding":
                arguments.reverse()
            return call(self.trace, name, arguments, {})
        if whole.startswith("torch.") and whole.count(".") == 1:
            return call(self.trace, whole.removeprefix("torch."), arguments, named)
        return Unknown(f"{whole:.60} stands for no layer")


class Reader:
    """An expression, read from its first token to its last, and what it is worth."""

    def __init__(self, program: Program, text: str, names: Mapping[str, Value]) -> None:
        self.program, self.text, self.names, self.at = program, text, names, 0
        self.kind, self.word = "", ""
        self.next()

    def next(self) -> None:
        """Go to the next token."""
        self.program.words -= 1
        if self.program.words < 0:
            raise NotFollowedError(f"it has more than {MOST_TOKENS:,} words")
        token = _TOKEN.match(self.text, self.at)
        if not token:
            if self.text[self.at :].strip():
                raise NotFollowedError(f"its code has {self.text[self.at :]!r:.40}, which is not followed")
            self.kind, self.word = "end", ""
            return
        self.at = token.end()
        for kind, group in zip(("name", "number", "string", "sign"), token.groups(), strict=True):
            if group is not None:
                self.kind, self.word = kind, group

    def is_sign(self, sign: str) -> bool:
        return self.kind == "sign" and self.word == sign

    def expect(self, sign: str) -> None:
        if not self.is_sign(sign):
            raise NotFollowedError(f"its code has {self.word!r:.40} where {sign!r} was expected")
        self.next()

    def whole(self) -> Value:
        """The value of all of it."""
        value = self.value()
        if self.kind != "end":
            raise NotFollowedError(f"its code goes on with {self.word!r:.40}")
        return value

    def value(self) -> Value:
        self.program.depth += 1
        if self.program.depth > DEEPEST:
            raise NotFollowedError(f"its code has more than {DEEPEST} calls and brackets within each other")
        value = self.atom()
        while self.kind == "sign" and self.word in ("(", "[", "."):
            if self.is_sign("."):
                self.next()
                value = self.program.attribute(value, self.word)
                self.next()
            elif self.is_sign("("):
                arguments, named = self.arguments()
                value = self.program.apply(value, arguments, named)
            else:
                self.next()
                index = self.items("]")
                one = index[0] if len(index) == 1 else None
                inside = type(value) in (list, tuple) and type(one) is int and -len(value) <= one < len(value)
                value = value[one] if inside else Unknown("an entry is taken by its number")
        self.program.depth -= 1
        return value

    def atom(self) -> Value:
        kind, word = self.kind, self.word
        self.next()
        if kind == "number":
            return self.number(word)
        if kind == "string":
            return word
        if kind == "name":
            return self.named(word)
        if word == "-" and self.kind == "number":
            value = self.number(self.word)
            self.next()
            return -value
        if word == "[":
            return self.items("]")
        if word == "(":
            values, comma = self.items(")"), self.comma
            return values[0] if len(values) == 1 and not comma else tuple(values)
        raise NotFollowedError(f"its code has {word!r:.40}, which is not followed")

    def number(self, word: str) -> int | float:
        try:
            return number(word)
        except ValueError:
            raise NotFollowedError(f"its code has {word!r:.40} for a number") from None

    def named(self, name: str) -> Value:
        """What a name stands for, or the value of a call of one of the language's own functions."""
        if name in WORDS:
            return WORDS[name]
        if name in self.names:
            return self.names[name]
        if name in ("torch", "__torch__", "ops", "CONSTANTS"):
            return Dotted(name)
        if not self.is_sign("("):
            return Unknown(f"{name!r:.40} is used")
        arguments, _ = self.arguments()
        if name == "getattr" and len(arguments) == 2 and type(arguments[1]) is str:
            return self.program.attribute(arguments[0], arguments[1])
        if name in ("annotate", "unchecked_cast") and len(arguments) == 2:
            return arguments[1]
        return Unknown(f"{name!r:.40} is called")

    comma = False  # whether the items read last ended with a comma

    def items(self, end: str) -> list[Value]:
        """Values up to a closing bracket."""
        values: list[Value] = []
        comma = False
        while not self.is_sign(end):
            values.append(self.value())
            comma = self.is_sign(",")
            if comma:
                self.next()
            elif not self.is_sign(end):
                raise NotFollowedError(f"its code has {self.word!r:.40} between values")
        self.next()
        self.comma = comma
        return values

    def arguments(self) -> tuple[list[Value], dict[str, Value]]:
        """Those of a call, from its opening bracket on."""
        self.expect("(")
        values: list[Value] = []
        named: dict[str, Value] = {}
        while not self.is_sign(")"):
            before, kind, word = self.at, self.kind, self.word
            self.next()
            if kind == "name" and self.is_sign("="):
                self.next()
                named[word] = self.value()
            else:
                self.at, self.kind, self.word = before, kind, word
                values.append(self.value())
            if self.is_sign(","):
                self.next()
            elif not self.is_sign(")"):
                raise NotFollowedError(f"its code has {self.word!r:.40} between arguments")
        self.next()
        return values, named
