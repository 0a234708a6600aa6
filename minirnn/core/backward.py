"""The backward pass that a forward pass returns."""

from minirnn.core.backend import Array
from minirnn.core.run import Pull, Saved, State
from minirnn.core.unchanged import Inputs


class Backward:
    """The backward pass of one forward pass: ``dx, dstate = backward(dy, dstate)``.

    ``dy`` has y's shape, ``dstate`` the final state's structure; either may be None where the loss does not depend on
    it.  ``dx`` is None for integer input.  Gradients of weights are added to ``model.grads``.  What forward saved is
    released on return.  A second call is an error unless the first said ``keep=True``; then it adds a second time.

    The weights and x must still be those of the forward pass.  After an optimiser's step or ``init`` a call raises
    RuntimeError and adds nothing.  So it does where x or a weight was written by hand, as far as a comparison of some
    entries shows; with ``MINIRNN_CHECK_INPUTS=1`` in the environment when the model gets its weights, all are compared.

    Threads may share a model: its backward passes, and its optimiser's steps, run one at a time.
    """

    def __init__(self, pull: Pull, saved: Saved, inputs: Inputs) -> None:
        self._pull: Pull | None = pull
        self._saved: Saved = saved
        self._inputs: Inputs | None = inputs
        self._parameters = inputs.parameters

    def __call__(
        self, dy: Array | None = None, dstate: State = None, *, keep: bool = False
    ) -> tuple[Array | None, State]:
        with self._parameters.changing:
            pull = self._live()
            if self._inputs is not None:
                self._inputs.check()
            result = pull(dy, dstate)
            if not keep:
                self._pull, self._saved, self._inputs = None, {}, None
        return result

    @property
    def saved(self) -> dict[str, Array]:
        """The saved arrays by name (``"1.0.z"``), each for all steps of x: (T, B, ...), 0 past a row's end."""
        return {name: read() for name, read in self.readers.items()}

    @property
    def readers(self) -> Saved:
        """The same, each computed when it is called."""
        self._live()
        return self._saved

    def _live(self) -> Pull:
        if self._pull is None:
            raise RuntimeError(
                "this backward has run and released what forward saved; the first call may say keep=True"
            )
        return self._pull
