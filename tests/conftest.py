"""One thread for everybody, and no deadlines: tests must pass on a small machine that is busy with something else."""

import cv2
import torch
from hypothesis import settings

torch.set_num_threads(1)
cv2.setNumThreads(1)
settings.register_profile("busy machine", deadline=None)
settings.load_profile("busy machine")
