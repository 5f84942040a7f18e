"""Train one network, or a stack of independent networks of one architecture at once.

The stack is PyTorch's model ensembling (`torch.func.stack_module_state`,
`functional_call`, `vmap`): the weights of S networks lie in tensors with a leading axis
S, one matrix product serves all, and the optimisers, being elementwise, keep them
independent. Every network has a random stream of its own for batches and dropout, so a
stack equals the loop over its networks.
"""

from cchlib.training.evaluation import features, predict
from cchlib.training.fitting import History, fit
from cchlib.training.inputs import PerNetwork
from cchlib.training.stack import Stack, resolve_device
from cchlib.training.stopping import BestEpoch

__all__ = [
    "BestEpoch",
    "History",
    "PerNetwork",
    "Stack",
    "features",
    "fit",
    "predict",
    "resolve_device",
]
