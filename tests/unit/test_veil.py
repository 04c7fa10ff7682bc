"""Values that the commands hide by name."""

from __future__ import annotations

import json

import pytest

from taskq_sls import ConfigError, TaskQ
from taskq_sls.cli.arguments import refuse_masks
from taskq_sls.core.redaction import MASK
from taskq_sls.core.states import State
from taskq_sls.operations.dead_letters import list_dead_letters
from taskq_sls.operations.presenters import shown_dead_letter, shown_record
from taskq_sls.results.records import TaskRecord
from tests.support.dead_letter_app import DeadLetterApp


def test_a_mark_given_as_a_value_is_refused() -> None:
    refuse_masks({"args": ["a.png"]})
    with pytest.raises(ConfigError, match="give the real value"):
        refuse_masks({"args": [{"deep": [f"Bearer {MASK}"]}]})


def test_a_record_is_shown_without_hidden_labels_and_fields_of_its_result() -> None:
    app = TaskQ("shop", redact=["token"])
    record = TaskRecord(
        "id",
        "shop:t",
        "default",
        State.SUCCEEDED,
        labels={"token": "t", "a": "b"},
        result_json='{"token": "t", "n": 1}',
        call='{"args": ["unnamed"], "kwargs": {"token": "t", "n": 1}}',
    )

    shown = shown_record(app, record, secrets=False)

    assert shown.labels == {"token": MASK, "a": "b"}
    assert json.loads(shown.result_json or "") == {"token": MASK, "n": 1}
    assert json.loads(shown.call or "") == {"args": [MASK], "kwargs": {"token": MASK, "n": 1}}
    assert shown_record(app, record, secrets=True) is record


def test_a_dead_letter_is_shown_without_what_is_hidden_and_without_its_body() -> None:
    shop = DeadLetterApp()
    shop.die("a", "a.png", 7)
    (one,) = shop.do(list_dead_letters(shop.app, shop.services)).dead_letters
    plain, veiling = TaskQ("shop"), TaskQ("shop", redact=["width"])

    shown = shown_dead_letter(veiling, one, secrets=False)

    assert (shown.args, shown.body) == ([MASK, MASK], MASK)
    assert shown_dead_letter(veiling, one, secrets=True) is one
    assert shown_dead_letter(plain, one, secrets=False) is one
