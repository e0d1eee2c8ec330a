"""GPUs that a run can be planned for, by the names the command line gives them. Loads nothing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Gpu:
    """tflops: peak dense bf16, in 1e12 operations a second. gb, gb_s: memory in 1e9 bytes, and how many move a second.

    From the makers' data sheets (H100 and H200: SXM; A100: 80 GB SXM; RTX 4090: with fp32 accumulation).
    """

    title: str
    tflops: float
    gb: float
    gb_s: float


GPUS = {
    "h100": Gpu("H100", 989, 80, 3350),
    "h200": Gpu("H200", 989, 141, 4800),
    "a100": Gpu("A100", 312, 80, 2039),
    "l40s": Gpu("L40S", 362, 48, 864),
    "rtx4090": Gpu("RTX 4090", 165, 24, 1008),
}
