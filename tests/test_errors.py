import pytest

from thinkseg.errors import MAX_MESSAGE_CHARS, AnswerError, DatasetError, one_line


def test_str_of_error_with_huge_value_keeps_both_ends():
    message = str(DatasetError(f"file.json: id {'9' * 10**6} is unknown; download it again"))
    assert len(message) <= MAX_MESSAGE_CHARS
    assert message.startswith("file.json: id 999")
    assert message.endswith("is unknown; download it again")
    assert len(str(AnswerError("invalid_json", "x" * 5000))) <= MAX_MESSAGE_CHARS


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("two  spaces stay", "two  spaces stay"),
        ("a\nb\r\nc\x85d\u2028e", "a b c d e"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("lone \ud800, dog \U0001f436, é", "lone \\ud800, dog \U0001f436, é"),
        ("", ""),
    ],
)
def test_one_line_unprintable_characters_are_escaped(text, line):
    assert one_line(text) == line
    assert len(one_line("\0" * 5000)) <= MAX_MESSAGE_CHARS
