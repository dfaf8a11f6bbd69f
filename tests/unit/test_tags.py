from duet_p2p.surface.tags import result_tags


def test_a_result_has_its_inputs_tags_and_the_operations_name_sorted() -> None:
    assert result_tags("torch.Tensor.mean", (("float", "ages"),)) == ("ages", "float", "mean")
    assert result_tags("python.List.__len__", (("tag_x",),)) == ("__len__", "tag_x")


def test_equal_tags_of_several_inputs_appear_once() -> None:
    assert result_tags("torch.add", (("a", "b"), ("b", "add"))) == ("a", "add", "b")


def test_a_setter_is_named_like_its_property() -> None:
    assert result_tags("torch.Tensor.grad=", ()) == ("grad",)
