"""Settings: every problem at once, in plain words, and where each value came from."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from researchflow_tmux.adapters.config_file import LoadedSettings, load_settings, parse_settings
from researchflow_tmux.adapters.config_reference import reference_markdown, settings_schema
from researchflow_tmux.domain.errors import ConfigError
from researchflow_tmux.domain.workspace import JobSection, Settings


def load(text: str) -> LoadedSettings:
    return parse_settings(f"task_name: t\n{text}\n".encode(), "c.yml")


def complaint(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(text)
    return str(caught.value)


README = """
task_name: "experiment_name"        # Name for sessions and logs
work_dir: "."                       # Project root directory
config_dir: "configs"               # Task config directory
script_path: "train.py"             # Training script
python_env: "/path/to/python"       # Python executable
output_dir: "out"                   # Completion files directory
scheduler_session_suffix: "_scheduler"  # Scheduler session suffix
worker_prefix: ""                       # Worker prefix (defaults to task_name)
max_jobs_per_gpu: 2                 # Max concurrent tasks per GPU
gpu_count: 2                        # Number of GPUs
check_interval: 30                  # Status check interval (seconds)
startup_delay: 1                    # Delay between session steps
command_delay: 0.5                  # Delay between tmux commands
log_dir: "/tmp"                     # Log directory
enable_logging: true                # Enable file logging
conda_env: "base"                   # Conda environment
cuda_visible_devices_var: "CUDA_VISIBLE_DEVICES"
config_pattern: "*.yml"             # Config file pattern
auto_restart_failed: false          # Auto-restart failed tasks
max_retries: 3                      # Max retry attempts
cleanup_on_complete: false          # Auto-cleanup completed sessions
"""


def test_a_config_of_the_bash_scheduler_loads_as_it_is() -> None:
    loaded = parse_settings(README.encode(), "c.yml")
    assert loaded.settings.gpu_count == 2
    assert loaded.settings.max_jobs_per_gpu == 2
    assert loaded.settings.command_delay == 0.5
    assert [text.split()[0] for text in loaded.warnings] == ["startup_delay", "command_delay"]


def test_origins_name_the_line_or_say_default() -> None:
    loaded = load("gpu_count: auto\n\nmax_jobs_per_gpu: unlimited")
    assert loaded.origins["task_name"] == "c.yml:1"
    assert loaded.origins["max_jobs_per_gpu"] == "c.yml:4"
    assert loaded.origins["log_dir"] == "default"
    assert set(loaded.origins) == set(Settings.__struct_fields__)


def test_all_problems_at_once_in_the_order_of_the_file() -> None:
    with pytest.raises(ConfigError) as caught:
        load("max_job_per_gpu: 2\ncheck_interval: 0\nmax_jobs_per_gpu: two\nenv: {A: [1], B: {c: 1}}\ngpu_count: -1")
    assert [problem.line for problem in caught.value.problems] == [2, 3, 4, 5, 5, 6]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("max_jobs_per_gpu: two", "max_jobs_per_gpu: expected a whole number of at least 1 or `unlimited`, got 'two'"),
        ("max_jobs_per_gpu: 0", "got 0"),
        ("max_jobs_per_gpu:", "got nothing"),
        ("max_job_per_gpu: 2", "did you mean `max_jobs_per_gpu`?"),
        ("enable_logging: yes", "write true"),
        ("before: module load x", "write it as a list"),
        ("time_limit: 1:30", "`90m`"),
        ("time_limit: 0", "leave it empty"),
        ("log_cap: lots", "`1GiB`"),
        ("completion: done", "one of `exit_code`, `marker`, `marker_and_exit`"),
        ("gpu_count: all", "`auto`"),
        ("gpu_count: [0, 0]", "twice"),
        ("gpu_count: [-1]", "got -1"),
        ("cuda_visible_devices_var: 1X", "of the form"),
        ("marker_grace: .inf", "finite"),
        ("keep_sessions: 99999999999999999999", "astronomical"),
        ("log_dir: !foo x", "tag"),
        ('log_dir: "a\\0b"', "no command line"),
        ("log_dir: [a]", "got a list"),
        ("log_dir: a\nlog_dir: b", "line 2 already"),
        ("config_pattern: ../*.yml", "inside config_dir"),
        ("scheduler_session_suffix: .s", "letters, digits"),
        ("env: {A=B: 1}", "name of a variable"),
        ("[a]: 1", "simple word"),
    ],
)
def test_problems_are_said_in_plain_words(text: str, words: str) -> None:
    assert words in complaint(text)


@pytest.mark.parametrize("text", ["conda_env:", "before:", "env:", "gpu_count:", "command:", "work_dir: ~"])
def test_an_empty_optional_value_is_the_default(text: str) -> None:
    assert load(text).settings == Settings(task_name="t")


def test_empty_means_none_where_none_is_allowed() -> None:
    assert load("log_cap:").settings.log_cap is None


def test_texts_are_taken_as_they_are_written() -> None:
    settings = load("conda_env: 3.10\nenv: {A: 1e-3, B: yes, C: }\nbefore: [012]").settings
    assert settings.conda_env == "3.10"
    assert settings.env == {"A": "1e-3", "B": "yes", "C": ""}
    assert settings.before == ["012"]


def test_a_quoted_number_is_a_number() -> None:
    settings = load('gpu_count: "2"\nmax_jobs_per_gpu: "3"\ncheck_interval: "0.5"').settings
    assert (settings.gpu_count, settings.max_jobs_per_gpu, settings.check_interval) == (2, 3, 0.5)


def test_the_task_needs_a_name() -> None:
    with pytest.raises(ConfigError, match="task_name is missing"):
        parse_settings(b"# nothing\n", "/x/my_exp/c.yml")
    with pytest.raises(ConfigError, match="task_name: expected a text that is not empty, got nothing"):
        parse_settings(b"task_name:\n", "c.yml")
    with pytest.raises(ConfigError, match="key: value"):
        parse_settings(b"- a\n", "c.yml")


def test_a_misspelt_placeholder_is_worth_a_word() -> None:
    assert "did you mean {script}" in load("command: 'python {scrpt} ${HOME} {a,b}'").warnings[0]


@pytest.mark.parametrize(
    ("written", "key", "meant"),
    [
        ("success: NO_ERROR_AND_VERIFY", "success", "no_error_and_verify"),
        ("success: NO_ERROR_ONLY", "success", "no_error_only"),
        ("success: Verify_Only", "success", "verify_only"),
        ("success: ALWAYS_SUCCESS", "success", "always"),
        ("on_failure: PRINT_FAILURE_AND_CONTINUE", "on_failure", "continue"),
        ("on_failure: SILENT_CONTINUE", "on_failure", "silent"),
        ("on_failure: STOP_EXECUTION", "on_failure", "stop"),
    ],
)
def test_the_words_of_other_schedulers_are_understood(written: str, key: str, meant: str) -> None:
    assert getattr(load(written).settings, key) == meant


def test_a_rule_of_success_that_is_none_is_refused() -> None:
    assert "no_error_and_verify" in complaint("success: sometimes")
    assert "matches any line" in complaint("oom_patterns: ['x*']")
    assert "is no regular expression" in complaint("oom_patterns: ['(']")


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load_settings(str(tmp_path / "c.yml"))
    with pytest.raises(ConfigError, match="cannot be read"):
        load_settings(str(tmp_path))


def test_the_template_loads_and_says_the_defaults() -> None:
    path = Path(__file__).parents[3] / "workspace_template" / "scheduler_config.yml"
    loaded = load_settings(str(path))
    assert loaded.settings == Settings(task_name="my_experiment")
    assert loaded.warnings == ()
    missing = {key for key, origin in loaded.origins.items() if origin == "default"}
    assert missing == {"startup_delay", "command_delay"}


def test_the_schema_knows_every_key_and_nothing_else() -> None:
    schema = settings_schema()
    assert set(schema["properties"]) == set(Settings.__struct_fields__)
    assert schema["required"] == ["task_name"]
    assert schema["additionalProperties"] is False
    assert b"$ref" not in msgspec.json.encode(schema)
    assert all(value.get("description") for value in schema["properties"].values())


def test_the_reference_names_every_key() -> None:
    text = reference_markdown()
    for key in (*Settings.__struct_fields__, *JobSection.__struct_fields__):
        assert f"| `{key}` |" in text


LINES = st.builds(
    "{}: {}".format,
    st.sampled_from(list(Settings.__struct_fields__)) | st.text("abc_", min_size=1),
    st.sampled_from(
        ["", "1", "-1", "x", "[a, 1]", "{A: 1}", "'2'", "true", "1e400", "!x y", "&a b", "*a", "| \n  t", "90m"]
    )
    | st.text(max_size=8),
)


@given(st.lists(LINES, max_size=6).map("\n".join) | st.text())
def test_no_config_raises_anything_but_a_config_error(text: str) -> None:
    with suppress(ConfigError):
        loaded = parse_settings(text.encode(), "c.yml")
        assert msgspec.json.decode(msgspec.json.encode(loaded), type=LoadedSettings) == loaded
