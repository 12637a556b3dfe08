"""Questions and the metric of medr1 in other evaluation tools: lmms-eval, VLMEvalKit, inspect_ai.

`task_files` writes questions as a task of such a tool. `inspect_registry` is what inspect_ai
imports. lmms-eval may need other versions of libraries than medr1, so the task that is written
for it asks `scorer`, which runs in a process of its own. `scoring` is the metric, for both.
"""
