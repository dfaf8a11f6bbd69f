import copy
import gc
import io

import pytest
import torch

from duet_p2p.objects import notes


def test_tag_and_describe_return_the_same_tensor() -> None:
    x = torch.ones(3)
    assert notes.tag(x, "ages", "first") is x
    assert notes.describe(x, "in years") is x
    assert notes.tags_of(x) == ("ages", "first")
    assert notes.description_of(x) == "in years"


def test_tagging_again_replaces_the_tags_and_keeps_the_description() -> None:
    x = notes.describe(torch.ones(3), "text")
    notes.tag(x, "a")
    notes.tag(x, "b", "b")
    assert notes.tags_of(x) == ("b",)
    assert notes.description_of(x) == "text"


def test_equal_tensors_have_notes_of_their_own() -> None:
    x, y = torch.ones(3), torch.ones(3)
    notes.tag(x, "mine")
    assert notes.tags_of(y) == ()


def test_copies_slices_and_files_carry_nothing() -> None:
    x = notes.tag(torch.arange(4.0), "secret name")
    file = io.BytesIO()
    torch.save(x, file)
    assert b"secret name" not in file.getvalue()
    for other in (x.clone(), x[:2], x + 1, copy.deepcopy(x), x.detach()):
        assert notes.tags_of(other) == ()


def test_a_note_goes_with_its_tensor() -> None:
    before = len(notes._notes)
    x = notes.tag(torch.ones(2), "short-lived")
    assert len(notes._notes) == before + 1
    del x
    gc.collect()
    assert len(notes._notes) == before


@pytest.mark.parametrize("wrong", [3, None, b"x"])
def test_tags_and_descriptions_are_text(wrong: object) -> None:
    with pytest.raises(TypeError):
        notes.tag(torch.ones(1), wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        notes.describe(torch.ones(1), wrong)  # type: ignore[arg-type]


def test_object_keys_differ_by_session_and_by_object() -> None:
    keys = {notes.object_key(s, i) for s in ("A", "B") for i in (-1, 1, 11, 2)}
    assert len(keys) == 8
    assert all(len(key) == 32 and int(key, 16) >= 0 for key in keys)
    assert notes.object_key("A", 1) == notes.object_key("A", 1)
