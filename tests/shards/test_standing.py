"""What a later run has to read: new studies, refused ones that changed, and no row twice."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lvray.errors import UseError
from lvray.settings import Tensorize
from lvray.shards.convert import Context
from lvray.shards.given import Given
from lvray.shards.identity import keyed
from lvray.shards.labels import Label
from lvray.shards.listing import Source
from lvray.shards.standing import Known, plan, settle

KEY = b"0123456789abcdef"
CONTEXT = Context(KEY, Tensorize())
NOTHING = CONTEXT.given.digest(KEY, "", None)
STUDIES = [Source(i, "zip", f"{name}.zip", f"{name}.zip", version="1") for i, name in enumerate("abcd", 1)]


def study(source: Source) -> str:
    return keyed(KEY, "study", source.name)


def version(source: Source) -> str:
    return keyed(KEY, "version", source.version)


A_ROW = Known("of its bytes", NOTHING, "someone")
A_REJECT = Known("of its bytes", NOTHING, None)
ROWS = {study(s): A_ROW for s in STUDIES}
SEEN = {study(s): version(s) for s in STUDIES}


def test_at_first_everything_is_new() -> None:
    assert plan(STUDIES, CONTEXT, {}, {}).new == STUDIES


def test_the_same_again_is_nothing_to_do() -> None:
    found = plan(STUDIES, CONTEXT, ROWS, SEEN)
    assert (found.new, found.doubtful, found.versions, found.absent) == ([], [], SEEN, 0)


def test_more_studies_fewer_studies() -> None:
    fewer = {study(s): A_ROW for s in STUDIES[:2]}
    assert plan(STUDIES, CONTEXT, fewer, SEEN).new == STUDIES[2:]
    assert plan(STUDIES[:1], CONTEXT, ROWS, SEEN).absent == 3


def test_files_that_look_otherwise_are_doubtful_until_their_bytes_tell() -> None:
    touched = [replace(STUDIES[0], version="2"), *STUDIES[1:]]
    found = plan(touched, CONTEXT, ROWS, SEEN)
    assert (found.new, found.doubtful) == ([], touched[:1])
    assert plan(STUDIES, CONTEXT, ROWS, {}).doubtful == STUDIES
    assert settle([(touched[0], "of its bytes")], CONTEXT, ROWS) == []
    with pytest.raises(UseError, match=r"1 studies of DST have another images in SRC now .* study 1"):
        settle([(touched[0], "of other bytes")], CONTEXT, ROWS)
    with pytest.raises(UseError, match="another images"):
        settle([(touched[0], None)], CONTEXT, ROWS)


def test_a_refused_study_is_read_again_once_it_changes() -> None:
    known = ROWS | {study(STUDIES[1]): A_REJECT}
    assert plan(STUDIES, CONTEXT, known, SEEN).new == []
    assert settle([(STUDIES[1], "of other bytes")], CONTEXT, known) == [STUDIES[1]]
    gave_up = ROWS | {study(STUDIES[1]): replace(A_REJECT, retried=True)}
    assert plan(STUDIES, CONTEXT, gave_up, SEEN).new == [STUDIES[1]]


def test_another_label_is_refused_for_a_row_and_contours_read_again_for_a_reject() -> None:
    labelled = replace(CONTEXT, given=Given(labels={"someone": Label(90.0, None, None, None)}))
    with pytest.raises(UseError, match="4 studies of DST have another label, contours or split"):
        plan(STUDIES, labelled, ROWS, SEEN)
    known = {study(s): replace(A_REJECT, given="of other contours") for s in STUDIES}
    assert plan(STUDIES, labelled, known, SEEN).new == STUDIES
