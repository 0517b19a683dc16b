import string
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import CredentialError, SetupError
from shared.vault import KeyRing, PrivateKey, PublicKey, SealContext

KEY, OTHER = PrivateKey.generate(), PrivateKey.generate()
RING = KeyRing([KEY])
CONTEXT = SealContext("credential", "organization", "object", "registry.example", "alice", "s", 1)
SIGNS = string.ascii_letters + string.digits + "-_"
SECRET = "what-nobody-may-see"
ECR_LIKE = '{"login": {"token": "' + "A1+/=" * 800 + '"}}\n'

texts = st.text(st.characters(exclude_categories=["Cs"]))
contexts = st.builds(
    SealContext, texts, texts, texts, texts, texts, texts, st.integers(0, 2**31 - 1)
)


@given(texts, contexts)
def test_a_sealed_secret_opens_with_the_same_context(secret: str, context: SealContext) -> None:
    assert RING.open(KEY.public.seal(secret, context), context) == secret


@pytest.mark.parametrize(
    "secret", ["", " ", "a\nb\r\n\0c", "пароль 密码 🔑", ECR_LIKE, "x" * 65536]
)
def test_any_secret_comes_back_as_it_was(secret: str) -> None:
    assert RING.open(KEY.public.seal(secret, CONTEXT), CONTEXT) == secret


@given(contexts, contexts, st.sampled_from(fields(SealContext)).map(lambda field: field.name))
def test_a_change_of_any_one_field_of_the_context_does_not_open(
    context: SealContext, other: SealContext, name: str
) -> None:
    changed = replace(context, **{name: getattr(other, name)})
    sealed = KEY.public.seal(SECRET, context)

    if changed == context:
        assert RING.open(sealed, changed) == SECRET
    else:
        with pytest.raises(CredentialError):
            RING.open(sealed, changed)


@given(st.lists(texts, min_size=2, max_size=2), st.lists(texts, min_size=2, max_size=2))
def test_text_that_moves_from_one_field_to_the_next_is_another_context(
    left: list[str], right: list[str]
) -> None:
    one, two = (replace(CONTEXT, host=pair[0], username=pair[1]) for pair in (left, right))

    assert (one.info() == two.info()) == (left == right)


def test_a_later_attempt_cannot_use_an_earlier_login() -> None:
    sealed = KEY.public.seal(SECRET, CONTEXT)

    with pytest.raises(CredentialError):
        RING.open(sealed, replace(CONTEXT, attempt=2))


def test_another_key_does_not_open_it() -> None:
    sealed = KEY.public.seal(SECRET, CONTEXT)

    with pytest.raises(CredentialError, match="control does not have"):
        KeyRing([OTHER]).open(sealed, CONTEXT)


def test_a_key_that_is_passed_off_as_the_right_one_does_not_open_it() -> None:
    sealed = KEY.public.seal(SECRET, CONTEXT)
    forged = sealed.replace(KEY.public.key_id, OTHER.public.key_id)

    with pytest.raises(CredentialError, match="encrypted for another use"):
        KeyRing([OTHER]).open(forged, CONTEXT)


def test_older_keys_go_on_opening_what_was_sealed_to_them() -> None:
    before, after = (key.public.seal(SECRET, CONTEXT) for key in (OTHER, KEY))

    keys = KeyRing.parse(f" {KEY.text()},\n{OTHER.text()} ")

    assert [keys.open(sealed, CONTEXT) for sealed in (before, after)] == [SECRET] * 2


@given(st.integers(0, 10_000), st.integers(1, 63))
def test_damaged_bytes_do_not_open(place: int, step: int) -> None:
    sealed = KEY.public.seal(SECRET, CONTEXT)
    body = sealed.rindex(".") + 1
    # The last sign holds bits that are not the secret's.
    place = body + place % (len(sealed) - body - 1)
    other = SIGNS[(SIGNS.index(sealed[place]) + step) % 64]

    with pytest.raises(CredentialError):
        RING.open(sealed[:place] + other + sealed[place + 1 :], CONTEXT)


@given(texts)
def test_text_that_was_never_sealed_does_not_open(text: str) -> None:
    for sealed in (text, f"v1.{text}", f"v1.{KEY.public.key_id}.{text}"):
        with pytest.raises(CredentialError):
            RING.open(sealed, CONTEXT)


def test_the_same_secret_is_never_sealed_to_the_same_text() -> None:
    assert KEY.public.seal(SECRET, CONTEXT) != KEY.public.seal(SECRET, CONTEXT)


def test_an_error_names_the_place_and_not_the_secret() -> None:
    sealed = KEY.public.seal(SECRET, CONTEXT)

    with pytest.raises(CredentialError) as caught:
        RING.open(sealed, replace(CONTEXT, host="elsewhere.example"))

    assert "elsewhere.example" in caught.value.message
    assert SECRET not in caught.value.message
    assert caught.value.code == "credential_unreadable"


def test_an_error_names_the_object_of_what_is_for_no_host() -> None:
    context = SealContext("environment", "organization", "application", "", "")

    with pytest.raises(CredentialError, match="the environment for application is damaged"):
        RING.open(KEY.public.seal(SECRET, CONTEXT), context)


def test_keys_survive_as_text() -> None:
    assert PrivateKey.parse(KEY.text()).public.key_id == KEY.public.key_id
    assert PublicKey.parse(f" {KEY.public}\n").key_id == KEY.public.key_id


def test_a_private_key_is_never_shown() -> None:
    shown = f"{KEY!r} {KEY!s} {KEY} {RING!r} {[KEY]}"

    assert KEY.text().removeprefix("wharf-private-v1.") not in shown
    assert "***" in shown


@pytest.mark.parametrize(
    "text", ["", "wharf-private-v1.", "wharf-public-v1.AAAA", "é", "wharf-private-v1.é", "A" * 43]
)
def test_an_invalid_key_is_refused_without_being_repeated(text: str) -> None:
    for kind in (PrivateKey, PublicKey):
        with pytest.raises(SetupError) as caught:
            kind.parse(text)
        assert text not in caught.value.message or not text


def test_a_private_key_is_no_public_key_and_the_other_way_round() -> None:
    with pytest.raises(SetupError):
        PublicKey.parse(KEY.text())
    with pytest.raises(SetupError):
        PrivateKey.parse(str(KEY.public))
