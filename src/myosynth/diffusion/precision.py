"""In which precision networks multiply."""

import torch

__all__ = ["uses_bf16"]


def uses_bf16(precision: str, device: torch.device) -> bool:
    """Whether to multiply in bfloat16: ``auto`` does where the processor has the instructions.

    There it takes about half the time; elsewhere it would be slower.
    """
    if precision != "auto":
        return precision == "bfloat16"
    if device.type == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported())
    return device.type == "cuda" and torch.cuda.is_bf16_supported()
