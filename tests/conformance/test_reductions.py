"""The comparison step by step, against expectations written by hand.

by_step decides what a difference is; if it dropped too much, every other test here would say too little.
"""

from __future__ import annotations

from typing import Any

import pytest

from qbitsim.scenario.reductions import by_step, fold_blips, reduce_reply

Record = dict[str, Any]


def status(word: str, job: str = "j") -> Record:
    return {"type": "event", "event": "JOB_STATUS_CHANGE", "data": {"status": word, "id": job}}


def completed(job: str = "j") -> Record:
    return {"type": "event", "event": "BLOCK_JOB_COMPLETED", "data": {"device": job}}


def reply(step: int) -> Record:
    return {"type": "reply", "step": step, "reply": {"return": {}}}


def bare(record: Record) -> Record:
    return {key: value for key, value in record.items() if key != "type"}


def test_an_event_before_a_reply_and_one_after_it_up_to_the_settling_are_in_one_list() -> None:
    records = [status("created"), reply(0), status("running"), {"type": "settled", "step": 1}]
    assert by_step(records) == [{**reply(0), "events": [bare(status("created")), bare(status("running"))]}]


def test_which_side_of_the_reply_an_event_is_on_makes_no_difference() -> None:
    settled = {"type": "settled", "step": 1}
    assert by_step([completed(), reply(0), settled]) == by_step([reply(0), completed(), settled])


def test_the_order_of_events_makes_a_difference() -> None:
    assert by_step([completed("a"), completed("b"), reply(0)]) != by_step([completed("b"), completed("a"), reply(0)])


def test_an_event_without_a_settling_belongs_to_the_next_reply() -> None:
    assert by_step([reply(0), completed(), reply(1)]) == [
        {**reply(0), "events": []},
        {**reply(1), "events": [bare(completed())]},
    ]


def test_events_at_the_very_end_belong_to_the_last_answer() -> None:
    assert by_step([reply(0), completed()]) == [{**reply(0), "events": [bare(completed())]}]


def test_the_end_of_a_raw_step_is_kept_with_its_number_of_replies() -> None:
    end = {"type": "raw-end", "step": 0, "replies": 1}
    assert by_step([reply(0), completed(), end]) == [
        {**reply(0), "events": [bare(completed())]},
        {**end, "events": []},
    ]


def test_a_pause_that_ends_at_once_is_folded() -> None:
    assert fold_blips([status("running"), status("paused"), status("running")]) == [status("running")]


def test_a_pause_that_lasts_until_after_a_reply_is_kept() -> None:
    records = [status("paused"), reply(0), status("running")]
    assert fold_blips(records) == records


def test_a_pause_in_which_the_job_ends_is_kept() -> None:
    records = [status("paused"), status("aborting")]
    assert fold_blips(records) == records


def test_a_pause_with_an_event_of_the_same_job_inside_is_kept() -> None:
    records = [status("paused"), completed(), status("running")]
    assert fold_blips(records) == records


def test_pauses_of_two_jobs_that_overlap_are_both_folded() -> None:
    records = [status("paused", "a"), status("paused", "b"), status("running", "b"), status("running", "a")]
    assert fold_blips(records) == []


def test_an_event_of_another_job_inside_a_pause_stays() -> None:
    assert fold_blips([status("paused", "a"), completed("b"), status("running", "a")]) == [completed("b")]


def test_folding_leaves_the_records_given_alone() -> None:
    records = [status("paused"), status("running")]
    fold_blips(records)
    assert records == [status("paused"), status("running")]


def test_an_error_is_kept_whole_whatever_is_picked() -> None:
    error = {"error": {"class": "GenericError", "desc": "no"}}
    assert reduce_reply(error, "bitmaps") == error


def test_picking_bitmaps_keeps_the_device_the_node_and_the_bitmaps() -> None:
    entry = {"device": "d", "type": "unknown", "inserted": {"node-name": "n", "drv": "raw", "ro": False}}
    bitmaps = [{"name": "b", "count": 0}]
    assert reduce_reply({"return": [entry], "id": 1}, "bitmaps") == {
        "return": [{"device": "d", "node-name": "n", "drv": "raw"}],
        "id": 1,
    }
    entry["inserted"]["dirty-bitmaps"] = bitmaps
    assert reduce_reply({"return": [entry]}, "bitmaps")["return"][0]["dirty-bitmaps"] == bitmaps


def test_picking_named_bitmaps_leaves_out_generated_nodes() -> None:
    nodes = [{"node-name": "#block1", "drv": "file"}, {"node-name": "n", "drv": "raw"}]
    assert reduce_reply({"return": nodes}, "named-bitmaps") == {"return": [{"node-name": "n", "drv": "raw"}]}


def test_picking_by_an_unknown_word_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^unknown pick 'all'$"):
        reduce_reply({"return": []}, "all")
