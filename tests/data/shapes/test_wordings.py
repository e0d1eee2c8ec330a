import re
from itertools import chain, product

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from thinkseg.chains.frames import checked_query
from thinkseg.data.shapes.simulation import COLORS, SHAPES
from thinkseg.data.shapes.wordings import CATEGORIES, CATEGORY, UNSEEN_WORDINGS, WORDINGS, add_noise_words


def blanks(wording: str) -> set[str]:
    return set(re.findall(r"{(\w+)}", wording))


def filled(wordings: dict[str, tuple[str, ...]]) -> set[str]:
    """All texts of a table of wordings."""
    return {
        text.format(color=color, shape=shape)
        for text, color, shape in product(chain(*wordings.values()), COLORS, SHAPES)
    }


def test_wordings_every_kind_has_category_and_two_texts() -> None:
    assert WORDINGS.keys() == UNSEEN_WORDINGS.keys() == CATEGORY.keys()
    assert set(CATEGORY.values()) == set(CATEGORIES) - {"none"}
    assert all(len(texts) >= 2 for texts in chain(WORDINGS.values(), UNSEEN_WORDINGS.values()))


def test_wordings_number_at_least_40() -> None:
    assert len(set(chain(*WORDINGS.values()))) >= 40


def test_wordings_of_kind_have_same_placeholders() -> None:
    for kind in WORDINGS:
        assert len({frozenset(blanks(text)) for text in (*WORDINGS[kind], *UNSEEN_WORDINGS[kind])}) == 1


def test_wordings_filled_texts_are_unique() -> None:
    """Neither within a table nor between the tables: the zero-shot split has its own texts."""
    for table in (WORDINGS, UNSEEN_WORDINGS):
        texts = list(chain(*table.values()))
        assert len(texts) == len(set(texts))
        assert len(filled(table)) == sum(
            len(COLORS) ** ("color" in blanks(t)) * len(SHAPES) ** ("shape" in blanks(t)) for t in texts
        )
    assert not filled(WORDINGS) & filled(UNSEEN_WORDINGS)


def test_wordings_filled_texts_are_valid_queries() -> None:
    for text in filled(WORDINGS) | filled(UNSEEN_WORDINGS):
        assert checked_query(text) == text


@given(st.sampled_from(sorted(WORDINGS)), st.integers(0, 2**32 - 1))
def test_add_noise_words_keeps_words_in_order(kind: str, seed: int) -> None:
    text = WORDINGS[kind][0]
    words = add_noise_words(text, np.random.default_rng(seed)).split(" ")
    rest = iter(words)
    assert all(word in rest for word in text.split(" ")), "the words are there, in their order"
    assert 1 <= len(words) - len(text.split(" ")) <= 2
