"""Text that a page must show as text: markup, ANSI sequences, characters that turn text around."""

HOSTILE = "<b onclick=x>\x1b[31mred\x1b]0;title\x07\u202etxt.exe</b>\"'{{ 7*7 }}"
SHOWN = "&lt;b onclick=x&gt;red\ufffdtxt.exe&lt;/b&gt;&#34;&#39;{{ 7*7 }}"


def require_text(page: str) -> None:
    """Check that a page shows the hostile text, and only as text."""
    assert SHOWN in page
    assert "<b onclick" not in page
    assert not {"\x1b", "\x07", "\u202e"} & set(page)
