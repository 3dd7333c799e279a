"""What may be shown of a hook, and what is cut out of an error's words."""

from __future__ import annotations

import pytest

from researchflow_tmux.domain.hooks import Hook
from researchflow_tmux.hooks.secrets import MissingVariable, filled, secrets_of, shown, without


@pytest.mark.parametrize(
    ("hook", "words"),
    [
        (Hook(url="https://hooks.slack.com/services/T0/B0/secret"), "https://hooks.slack.com/…"),
        (Hook(url="https://user:secret@h.org:8443/?key=secret"), "https://h.org:8443/…"),
        (Hook(url="http://h.org"), "http://h.org"),
        (Hook(url="${URL}"), "the URL in a variable"),
        (Hook(url="https://${HOST}/x"), "the URL in a variable"),
        (Hook(command="./notify.sh --channel lab"), "`notify.sh`"),
        (Hook(command="TOKEN=secret curl -H 'Authorization: Bearer secret' h.org"), "`curl`"),
        (Hook(command="'/my dir/notify' secret"), "a command"),
        (Hook(command="(echo secret)"), "a command"),
        (Hook(command="x" * 100), "`" + "x" * 60 + "`"),
    ],
)
def test_shown(hook: Hook, words: str) -> None:
    assert shown(hook) == words


def test_variables_are_filled_in_and_missing_ones_named() -> None:
    assert filled("Bearer ${TOKEN} $X {Y}", {"TOKEN": "t"}) == "Bearer t $X {Y}"
    with pytest.raises(MissingVariable, match="TOKEN is not set"):
        filled("${TOKEN}", {})


def test_no_secret_is_left_in_an_errors_words() -> None:
    hook = Hook(url="https://me:pass1@h.org/${PART}/x?key=abcd", headers={"Authorization": "Bearer ${TOKEN}"})
    secrets = secrets_of(hook, {"TOKEN": "tok-123", "PART": "p-456"})
    words = (
        "failed: https://me:pass1@h.org/p-456/x?key=abcd with Bearer tok-123 at /p-456/x?key=abcd for pass1 on h.org"
    )
    told = without(secrets, words)
    for secret in ("pass1", "p-456", "abcd", "tok-123"):
        assert secret not in told
    assert told.endswith("on h.org")
    assert secrets_of(Hook(command="x"), {}) == []
