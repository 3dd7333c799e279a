"""The files of a new threadward project, with everything that may be said in them."""

from __future__ import annotations

_TASK = '''"""What one task does. Required: task_method. A function that does nothing may stay as it is, or go."""

# When a task counts as successful: NO_ERROR_AND_VERIFY, NO_ERROR_ONLY, VERIFY_ONLY or ALWAYS_SUCCESS.
SUCCESS_CONDITION = "NO_ERROR_AND_VERIFY"


def task_method(variables, task_folder, log_file):
    """The task. `variables` maps names to values, as variable_iteration.py makes them.

    What belongs to the task goes into task_folder; all that is printed is in log_file, and in the job's session.
    """
    print("variables:", dict(variables), "folder:", task_folder)


def verify_task_success(variables, task_folder, log_file):
    """Whether the task really succeeded, such as: is its result there?"""
    return True


def before_all_tasks():
    pass


def after_all_tasks():
    pass


def before_each_worker(worker_id):
    pass


def after_each_worker(worker_id):
    pass


def before_each_task(variables, task_folder, log_file):
    pass


def after_each_task(variables, task_folder, log_file):
    pass
'''

_VARIABLES = '''"""The variables that are iterated over, and what their values are."""

# Folder of each task: VARIABLE_SUBFOLDER ({model}/{seed}) or VARIABLE_UNDERSCORE ({model}_{seed}).
TASK_FOLDER_LOCATION = "VARIABLE_SUBFOLDER"


def setup_variable_set(variable_set):
    """Add the variables, the highest first: tasks that share its value run one after the other."""
    variable_set.add_variable(name="model", values=["org/small-model", "org/large-model"], nicknames=["small", "large"])
    variable_set.add_variable(name="seed", values=[0, 1, 2], exceptions={"large": [0]})


# Values are texts. What a task is given instead of the text is made by a function of this name:
#
# def model_to_value(string_value, nickname):
#     return AutoModel.from_pretrained(string_value)
'''

_CONSTRAINTS = '''"""How many tasks run at a time, and with how many GPUs each."""

NUM_WORKERS = 1
# 0, 1, 2 … or a part of one GPU such as 1/2
NUM_GPUS_PER_WORKER = 0
# Seconds after which a task is stopped; None = never
TASK_TIMEOUT = None
'''

FILES = {
    "task_specification.py": _TASK,
    "variable_iteration.py": _VARIABLES,
    "resource_constraints.py": _CONSTRAINTS,
}
