"""Planted in streams and quantised models."""

from faults.fault import Fault

# fmt: off
FAULTS = {
    "stream: the model itself for a snapshot": Fault(
        "inference/streams.py",
        (("None if self.program.whole else model.to()", "None if self.program.whole else model"),),
        "inference/test_stream.py::test_a_stream_is_a_snapshot",
    ),
    "stream: many streams' states not given back": Fault(
        "inference/streams.py",
        (("places[k][i][...] = place[start:stop]", "_ = place[start:stop]"),),
        "inference/test_stream.py::test_many_streams_as_one_batch_say_what_each_says",
    ),
    "stream: a fork begins anew": Fault(
        "core/stream.py",
        (("        other.state = self.state\n", ""),),
        "inference/test_stream.py::test_forks_go_their_own_ways",
    ),
    "stream: the state before for the one after": Fault(
        "core/stream.py",
        (("            self._turn ^= 1\n", ""),),
        "inference/test_stream.py::test_any_sizes",
    ),
    "stream: output of whatever shape": Fault(
        "core/stream.py",
        (("and out.shape == self._out_shape and", "and"),),
        "inference/test_stream.py::test_a_wrong_out_is_refused",
    ),
    "stream: a GRU's second bias forgotten": Fault(
        "inference/program.py",
        (('= direction.weight(facts.bias)', "= 0"),),
        "inference/test_stream.py::test_any_sizes",
    ),
    "quantize: a row's scale for an embedding's column": Fault(
        "inference/quantize.py",
        (('transposed=spec.role == "embedding",\n                backend=old.backend', 'transposed=False,\n                backend=old.backend'),),
        "inference/test_quantize.py::test_a_quantised_model_computes_with_its_rounded_weights[f16-numpy-tied]",
    ),
    "quantize: not finite is finite": Fault(
        "inference/quantize.py",
        (("if not np.isfinite(values).all():", "if False:"),),
        "inference/test_quantize.py::test_what_cannot_be_quantised_is_said",
    ),
    "quantize: rounded down": Fault(
        "inference/blocks.py",
        (("np.round(np.divide", "np.floor(np.divide"),),
        "inference/test_quantize.py::test_int8_is_off_by_half_a_scale_at_most",
    ),
    "quantize: one line for its neighbour": Fault(
        "inference/blocks.py",
        (("self.blocks[:, index // depth, :, index % depth]", "self.blocks[:, index // depth, :, depth - 1 - index % depth]"),),
        "inference/test_quantize.py::test_it_stands_where_its_array_would",
    ),
    "quantize: rows as long as any have 127": Fault(
        "inference/blocks.py",
        (("np.float32(min(LARGEST, INT32 // (LARGEST * max(1, a.shape[1]))))", "np.float32(LARGEST)"),),
        "kernels/test_int8.py::test_sums_at_the_extremes_stay_within_int32[numpy-200000]",
    ),
    "quantize: rows rounded down": Fault(
        "inference/blocks.py",
        (("np.rint(a * up)", "np.floor(a * up)"),),
        "kernels/test_int8.py::test_rounding_is_to_nearest_and_to_even[numpy]",
    ),
    "quantize: an infinite row is finite": Fault(
        "inference/blocks.py",
        (("np.where(np.isfinite(a).all(axis=1, keepdims=True), most / limit, np.float32(np.nan))", "most / limit"),),
        "kernels/test_int8.py::test_a_row_that_is_not_finite_shows_it_and_spoils_no_other[inf-numpy]",
    ),
    "quantize: the factor of the first row for all": Fault(
        "inference/blocks.py",
        (("sums * (scale * factors)", "sums * (scale * factors[0])"),),
        "kernels/test_int8.py::test_each_row_has_its_factor_and_each_column_its_scale[numpy]",
    ),
    "quantize: transposed without its scales": Fault(
        "inference/blocks.py",
        (("(scale[:, None] if self.transposed else scale)", "(1 if self.transposed else scale)"),),
        "inference/test_quantize.py::test_int8_is_off_by_half_a_scale_at_most",
    ),
    "bfloat16: a stream's products in float32": Fault(
        "inference/program.py",
        (('"bf16" if model.bound.compute else "full"', '"full"'),),
        "recurrent/test_bfloat16.py::test_a_stream_computes_what_the_model_does[False-numba]",
    ),
    "bfloat16: infinity in a file": Fault(
        "formats/native.py",
        (("widened(array) if array.dtype == np.uint16 else array", "array"),),
        "inference/test_quantize.py::test_bfloat16_is_bfloat16_in_a_file",
    ),
}
# fmt: on
