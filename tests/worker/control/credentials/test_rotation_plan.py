"""The next step of a rotation, for any findings of its tests in any order."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from shared.credentials.server_tests import Finding, ServerTest
from shared.faults import Fault
from worker.control.credentials.rotation_plan import NO_SERVER, Begin, Refuse, Switch, Wait, decide

ENDS = (Finding.PASSED, Finding.FAILED, Finding.NOT_REACHED)
FAULT = Fault(code="auth_bad_credentials", message="the password is refused", remedy="Check it.")


def make_test(server_id: str, finding: Finding) -> ServerTest:
    fault = FAULT if finding is Finding.FAILED else None
    return ServerTest(
        server_id=server_id, server_name=f"name of {server_id}", finding=finding, fault=fault
    )


@dataclass
class Rotation:
    """A simulated rotation; ``ends`` are what its servers will find, in the order asked."""

    tests: list[ServerTest]
    ends: list[Finding]
    forced: bool

    def run(self, order: st.DataObject) -> Switch | Refuse:
        """Go on until it is decided; running tests end in any order."""
        while True:
            match step := decide(self.tests, forced=self.forced):
                case Begin(server_ids):
                    assert server_ids
                    self.tests = [
                        make_test(test.server_id, Finding.RUNNING)
                        if test.server_id in server_ids
                        else test
                        for test in self.tests
                    ]
                case Wait():
                    running = [n for n, t in enumerate(self.tests) if t.finding is Finding.RUNNING]
                    ended = order.draw(st.sampled_from(running))
                    test = self.tests[ended]
                    self.tests[ended] = make_test(test.server_id, self.ends[ended])
                case _:
                    return step

    def count(self, finding: Finding) -> int:
        return sum(test.finding is finding for test in self.tests)


def begin(ends: list[Finding], *, forced: bool) -> Rotation:
    tests = [make_test(str(number), Finding.WAITING) for number in range(len(ends))]
    return Rotation(tests, ends, forced)


@given(ends=st.lists(st.sampled_from(ENDS), max_size=8), forced=st.booleans(), data=st.data())
def test_a_rotation_switches_only_if_a_server_passed_and_none_failed_or_it_is_forced(
    *, ends: list[Finding], forced: bool, data: st.DataObject
) -> None:
    rotation = begin(ends, forced=forced)

    step = rotation.run(data)

    assert rotation.count(Finding.RUNNING) == 0
    has_passed = rotation.count(Finding.PASSED) > 0 and rotation.count(Finding.FAILED) == 0
    assert isinstance(step, Switch) == (has_passed or forced)
    if isinstance(step, Switch) and not forced:
        assert rotation.count(Finding.WAITING) == 0


@given(servers=st.integers(1, 8), forced=st.booleans(), data=st.data())
def test_a_login_that_is_wrong_everywhere_is_tried_once(
    *, servers: int, forced: bool, data: st.DataObject
) -> None:
    rotation = begin([Finding.FAILED] * servers, forced=forced)

    rotation.run(data)

    assert rotation.count(Finding.FAILED) == 1
    assert rotation.count(Finding.WAITING) == servers - 1


@given(st.lists(st.sampled_from(ENDS), max_size=8))
def test_one_server_at_a_time_is_asked_until_one_has_passed(ends: list[Finding]) -> None:
    tests = [make_test(str(number), end) for number, end in enumerate(ends)]
    tests += [make_test(name, Finding.WAITING) for name in ("first", "second")]

    step = decide(tests, forced=False)

    if Finding.FAILED in ends:
        assert isinstance(step, Refuse)
    elif Finding.PASSED in ends:
        assert step == Begin(frozenset({"first", "second"}))
    else:
        assert step == Begin(frozenset({"first"}))


def test_a_refusal_names_the_servers_where_it_fails_and_where_it_works() -> None:
    tests = [
        make_test("a", Finding.PASSED),
        make_test("b", Finding.FAILED),
        make_test("c", Finding.FAILED),
        make_test("d", Finding.NOT_REACHED),
    ]

    step = decide(tests, forced=False)

    assert isinstance(step, Refuse)
    assert step.fault.code == "auth_bad_credentials"
    assert step.fault.message == (
        "the new login fails from the server name of b: the password is refused; it also fails "
        "from name of c (auth_bad_credentials); it works from name of a"
    )


def test_a_rotation_without_a_server_is_refused() -> None:
    assert decide([], forced=False) == Refuse(NO_SERVER)
    assert decide([make_test("a", Finding.NOT_REACHED)], forced=False) == Refuse(NO_SERVER)
    assert decide([], forced=True) == Switch()
