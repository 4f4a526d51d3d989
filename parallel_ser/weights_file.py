"""Files of weights that other programs have written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def tensors(path: Path) -> Mapping[str, Tensor]:
    """The tensors of a file by name; nothing in it is executed, and it is mapped, not copied.

    Raises:
        ValueError: a clause, where it cannot be read or holds other things than tensors.
    """
    import torch

    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # whatever the readers raise of what another program has written
        raise ValueError(f"it cannot be read as tensors ({type(error).__name__})") from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(isinstance(one, torch.Tensor) for one in state.values()):
        raise ValueError("it is no state dict of tensors")
    return state
