"""Arrays from outside, made what a layer computes with: one array, floats in the model's dtype, time first.

Which arrays are taken for floats says ``backend.takes``; conversion is apart from that, since padding is cut off first:
it may hold numbers that are too large for the model's dtype.
"""

from minirnn.core.backend import Array, Backend, Dtype, takes


def as_array(backend: Backend, what: str, value: object) -> Array:
    """``value``, an array or nested lists, as an array of the backend's."""
    try:
        array: Array = backend.xp.asarray(value)
    except ValueError as error:
        raise ValueError(f"{what} must be one rectangular array; got ragged nested lists ({error})") from None
    return array


def as_floats(backend: Backend, dtype: Dtype, what: str, value: object) -> Array:
    """``value`` as an array of floats that can become ``dtype``; of integers, lists alone are taken for floats."""
    array = as_array(backend, what, value)
    if array.dtype is dtype:
        return array
    if not hasattr(value, "dtype") and array.dtype.kind in "iu":
        array = array.astype(dtype)
    if not takes(dtype, array.dtype):
        to = ", or the model with model.to(dtype=...)" if array.dtype.kind == "c" else ""
        raise ValueError(
            f"{what} must be {dtype.name}, the model's dtype, or floats that become it; got {array.dtype} "
            f"(convert it with astype{to})"
        )
    return array


def exchanged(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape with its first two axes, of time and batch, in the other order."""
    return (*shape[1::-1], *shape[2:])


def of_order(error: ValueError, T: int, B: int, *, batch_first: bool, likely: bool) -> ValueError:
    """The error, and where the other order of x's axes is ``likely`` meant, a word on that."""
    if not likely or T == B:
        return error
    order = "batch first" if batch_first else "time first"
    return ValueError(
        f"{error}; x was read {order}, as {T} steps of {B} rows: did you mean batch_first={not batch_first}?"
    )
