"""Reward functions for TRL's GRPOTrainer.

Each reward takes `completions` and the columns of the data set as lists, and returns one float per
completion. `accuracy` is 1.0 if `answers.judge` calls the completion correct, as in evaluation,
else 0.0. All rewards of medr1 are in [0, 1], but `model`, whose
values are those of a reward model. A reward is written as its name, with parameters as
`soft-overlong:cache=256:max_length=1024`; a user's own as `package.module:function`.

item: a completion with what is needed to score it. table: all rewards by name. functions: from
names to functions. with_models, reward_model: the rewards that ask another model.
"""

from medr1.rewards.functions import (
    reward_functions,
    reward_with_column,
    score_batch,
    score_completion,
)
from medr1.rewards.item import Item, message_text
from medr1.rewards.table import DEFAULT_REWARDS, REWARDS, Parameter, Reward, overlong_score
from medr1.rewards.with_models import MODEL_REWARDS, RewardFunction

accuracy = reward_functions(["accuracy"], "bare")[0]

__all__ = [
    "DEFAULT_REWARDS",
    "MODEL_REWARDS",
    "REWARDS",
    "Item",
    "Parameter",
    "Reward",
    "RewardFunction",
    "accuracy",
    "message_text",
    "overlong_score",
    "reward_functions",
    "reward_with_column",
    "score_batch",
    "score_completion",
]
