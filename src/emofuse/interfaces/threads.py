"""How many threads torch may use, chosen before it is loaded or after."""

import os
import sys

from emofuse.threads import available


def use_one_thread() -> None:
    """Two OpenMP threads stall LSTM training while another process uses a core; one does not."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)
    else:
        os.environ["OMP_NUM_THREADS"] = "1"  # torch reads it when it is imported


def use_half_of_the_threads() -> int:
    """Let torch divide one operation among half of the threads; and how many there are, to divide other work among."""
    n_threads = available()
    half = max(1, n_threads // 2)
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(half)
    else:
        os.environ["OMP_NUM_THREADS"] = str(half)
    return n_threads
