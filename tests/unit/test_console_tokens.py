from duet_p2p.console.tokens import Tokens


def test_a_token_is_good_once():
    tokens = Tokens()
    token = tokens.issue(0, 60)
    assert tokens.take(token, 1)
    assert not tokens.take(token, 1)


def test_a_token_is_good_for_its_time():
    tokens = Tokens()
    early, late = tokens.issue(0, 60), tokens.issue(0, 60)
    assert tokens.take(early, 59.9)
    assert not tokens.take(late, 60)


def test_nothing_else_is_a_token():
    tokens = Tokens()
    token = tokens.issue(0, 60)
    for wrong in ("", token[:-1], token + "A", token.swapcase(), "\ud800"):
        assert not tokens.take(wrong, 1)
    assert tokens.take(token, 1)


def test_tokens_are_long_and_never_the_same():
    tokens = Tokens()
    made = {tokens.issue(0) for _ in range(100)}
    assert len(made) == 100
    assert all(len(token) == 43 for token in made)


def test_an_open_end_can_be_shortened_and_not_prolonged():
    tokens = Tokens()
    token = tokens.issue(0)
    tokens.shorten(token, 100)
    tokens.shorten(token, 200)
    tokens.shorten("unknown", 100)
    assert not tokens.take(token, 100)


def test_old_tokens_are_forgotten():
    tokens = Tokens()
    for _ in range(10):
        tokens.issue(0, 60)
    tokens.issue(61, 60)
    assert len(tokens) == 1
