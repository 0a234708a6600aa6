"""Checkpoints as trainers write them, written by hand: a model under a name of theirs, and much beside it."""

from typing import Any

from torch_objects import Array, Call, Made, drawn, state_of, tagger


def under(prefix: str, **beside: Array) -> dict[str, Array]:
    """The state dict of a module, its names behind ``prefix``, and more tensors."""
    return {f"{prefix}{name}": a for name, a in state_of(tagger()).items()} | beside


def lightning(state: dict[str, Array]) -> dict[str, Any]:
    """A ``.ckpt`` of Lightning."""
    return {
        "epoch": 3,
        "global_step": 100,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": state,
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 3}}}},
        "callbacks": {"ModelCheckpoint{'monitor': 'val_loss'}": {"best_model_score": drawn(()), "dirpath": "/a"}},
        "optimizer_states": [{"state": {0: {"exp_avg": drawn((5, 3))}}, "param_groups": [{"lr": 0.1}]}],
        "lr_schedulers": [],
        "hparams_name": "kwargs",
        "hyper_parameters": Made("lightning_fabric.utilities.data AttributeDict", {"lr": 0.1}),
        "datamodule": Call("functools partial", Call("a b")),
    }


LIGHTNING: dict[str, Any] = {
    "Lightning": lightning(under("model.")),
    "Lightning, another name": lightning(under("net.")),
    "DataParallel in Lightning": lightning(under("model.module.")),
}
CHECKPOINTS: dict[str, Any] = {
    "model_state_dict": {"epoch": 1, "model_state_dict": under(""), "optimizer_state_dict": {"state": {}}},
    "state_dict": {"state_dict": under("")},
    "model": {"model": under(""), "args": Made("argparse Namespace", {"lr": 0.1})},
    "DataParallel": under("module."),
    "a compiled model": under("_orig_mod."),
    "a compiled model in DataParallel": {"model": under("module._orig_mod.")},
}
