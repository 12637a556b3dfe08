"""The command medr1, in a process that is told that its CPU is a GPU.

accelerate shards models on GPUs alone. What splits, trains, gathers and writes is PyTorch's own
code, over gloo. With the environment variable COUNTS, each process writes the all-gathers and
all-reduces of each rollout into the file of that name and its rank, one line of JSON for each.
KILLED_AFTER is killed_run.py's.
"""

import json
import os

import torch
from accelerate.state import PartialState
from accelerate.utils import DistributedType
from killed_run import main_until_killed
from torch.utils._python_dispatch import TorchDispatchMode
from trl import GRPOTrainer

from medr1.train.shared_prefix.trainer import SharedPrefixTrainer

prepare_backend = PartialState._prepare_backend
generate = SharedPrefixTrainer._generate_single_turn


def as_on_gpus(self, *args, **named):
    backend, kind = prepare_backend(self, *args, **named)
    if kind != DistributedType.MULTI_CPU:
        return backend, kind
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("gloo")
    return backend, DistributedType.MULTI_GPU


class Collectives(TorchDispatchMode):
    """Counts the collective operations of a block."""

    def __init__(self):
        super().__init__()
        self.gathers = self.reductions = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        self.gathers += "c10d::_allgather" in operation.name()
        self.reductions += "c10d::allreduce" in operation.name()
        return operation(*args, **(kwargs or {}))


def counted(self: GRPOTrainer, *args, **named):
    with Collectives() as collectives:
        result = generate(self, *args, **named)
    counts = {"gathers": collectives.gathers, "reductions": collectives.reductions}
    counts["lengths"] = [len(ids) for ids in result[0]]
    with open(f"{os.environ['COUNTS']}-{self.args.process_index}", "a") as file:
        file.write(json.dumps(counts) + "\n")
    return result


if __name__ == "__main__":
    PartialState._prepare_backend = as_on_gpus
    PartialState.set_device = lambda self: setattr(self, "device", torch.device("cpu"))
    if os.environ.get("COUNTS"):
        SharedPrefixTrainer._generate_single_turn = counted
    main_until_killed()
