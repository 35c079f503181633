"""How many bytes the operations of a network read and write, as they are called one by one."""

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class _Counter(TorchDispatchMode):
    """Adds up the tensors that go into each operation and come out of it; a view moves nothing."""

    n_bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call it, and count."""
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            tensors = [x for x in tree_leaves((args, kwargs, result)) if isinstance(x, Tensor)]
            self.n_bytes += sum(x.numel() * x.element_size() for x in tensors)
        return result


def traffic(run: Callable[[], object]) -> int:
    """Bytes that the operations of `run` read and write, gradients included, if no cache held anything between them.

    What an operation reads and writes within itself, as an LSTM does in each of its steps, is not seen.
    """
    with _Counter() as counter:
        run()
    return counter.n_bytes
