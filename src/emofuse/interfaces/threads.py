"""How many threads torch may use, chosen before it is loaded or after."""

import os
import sys


def use_one_thread() -> None:
    """Two OpenMP threads stall LSTM training while another process uses a core; one does not."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)
    else:
        os.environ["OMP_NUM_THREADS"] = "1"  # torch reads it when it is imported


def use_half_of_the_threads() -> int:
    """Let torch, where it runs the networks, use half of the threads that it would; and how many these are."""
    torch, given = sys.modules.get("torch"), os.environ.get("OMP_NUM_THREADS", "")
    most = torch.get_num_threads() if torch else int(given) if given.isdecimal() else os.cpu_count() or 1
    n_threads = max(1, most // 2)
    if torch:
        torch.set_num_threads(n_threads)
    else:
        os.environ["OMP_NUM_THREADS"] = str(n_threads)
    return n_threads
