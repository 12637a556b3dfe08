"""The command medr1, in a process that kills itself after a step of the training.

The environment variable KILLED_AFTER has the number of the step; without it, nothing is killed. The
step is done, and not yet logged. On GPUs accelerate starts DeepSpeed's communication; on CPUs it
does not, and this does.
"""

import os
import signal

from transformers import TrainerCallback

from medr1.cli import main
from medr1.train.recovery.exact_resume import ExactResumeMixin

train = ExactResumeMixin.train


class KilledAfter(TrainerCallback):
    def on_step_end(self, args, state, control, **_):
        if str(state.global_step) == os.environ["KILLED_AFTER"]:
            os.kill(os.getpid(), signal.SIGKILL)


def train_until_killed(self, *args, **named):
    self.add_callback(KilledAfter())
    return train(self, *args, **named)


def main_until_killed():
    if os.environ.get("KILLED_AFTER"):
        ExactResumeMixin.train = train_until_killed
    if os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true":
        import deepspeed

        deepspeed.init_distributed("gloo")
    main()


if __name__ == "__main__":
    main_until_killed()
