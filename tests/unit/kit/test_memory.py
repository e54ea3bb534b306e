"""What is remembered, by what, and for how long."""

from clover.kit.memory import forget_unused, remembered, remembered_by_identity, the_same


def counting(remember):
    calls = []

    @remember
    def double(value, *, sign=1):
        calls.append(value)
        return [part * 2 * sign for part in value]

    return double, calls


def test_an_equal_value_is_worked_out_once():
    double, calls = counting(remembered)

    assert double((1, 2)) is double((1, 2))
    assert double((1, 2), sign=-1) == [-2, -4]
    assert len(calls) == 2


def test_the_same_object_is_worked_out_once_and_an_equal_one_again():
    double, calls = counting(remembered_by_identity)
    value = [1, 2]

    assert double(value) is double(value)
    assert double([1, 2]) == double(value)
    assert len(calls) == 2


def test_an_object_that_takes_the_place_of_a_forgotten_one_is_not_taken_for_it():
    double, _ = counting(remembered_by_identity)

    for number in range(100):
        assert double([number]) == [number * 2]


def test_what_was_asked_for_since_the_last_time_is_kept():
    double, calls = counting(remembered)
    for _ in range(5):
        double((1,))
        forget_unused()

    assert len(calls) == 1


def test_what_nobody_asked_for_is_forgotten():
    double, calls = counting(remembered)
    double((1,))
    forget_unused()
    forget_unused()
    double((1,))

    assert len(calls) == 2


def test_equal_values_become_one_object():
    assert the_same((1, (2, 3))) is the_same((1, (2, 3)))
