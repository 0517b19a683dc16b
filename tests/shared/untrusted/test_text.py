"""Text of others without sequences that control a terminal."""

from shared.untrusted.text import plain_text, uncoloured


def test_control_characters_are_replaced_and_lines_stay() -> None:
    assert (
        plain_text("a\x1b[2J\x9b\x07\u202eb\r\n\tc\r") == "a\ufffd[2J\ufffd\ufffd\ufffdb\n\tc\ufffd"
    )


def test_colours_and_titles_are_taken_out_and_nothing_else() -> None:
    assert uncoloured("\x1b[1;31mred\x1b[0m \x1b]0;title\x07[31m é") == "red [31m é"
