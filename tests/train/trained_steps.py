"""Trains on given completions, as one process or as each of several: FOLDER QUESTIONS RUNS.

RUNS is JSON, the settings of each run by its name. The first process writes what came of them.
"""

import json
import sys
from pathlib import Path

import torch
from steps import fresh_model, trainer_for

from medr1.data.readers import read_questions

if __name__ == "__main__":
    folder, questions = Path(sys.argv[1]), read_questions(sys.argv[2])
    for name, settings in json.loads(sys.argv[3]).items():
        trainer = trainer_for(fresh_model(), questions, folder / name, **settings)
        trainer.train()
        logs = [log for log in trainer.state.log_history if "loss" in log]
        weights = trainer.accelerator.unwrap_model(trainer.model).state_dict()
        if trainer.is_world_process_zero():
            torch.save({"logs": logs, "weights": weights}, folder / f"{name}.pt")
