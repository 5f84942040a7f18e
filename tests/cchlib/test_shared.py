"""What two networks both know of the label, where the truth is known."""

import numpy as np
import pytest

from cchlib.criterion import decision_information, shared_label_information

LN2 = np.log(2)
#: three standard deviations of the estimate over draws of these cases, and its bias:
#: .003 and -.007 for gaussian, .021 and -.004 for ksg (12 draws)
WITHIN = {"gaussian": 0.02, "ksg": 0.065}


def bits(n=1200, seed=0):
    return np.random.default_rng(seed).integers(2, size=(2, n))


def shown(bit, seed):
    """A network that knows one bit, beside noise of its own."""
    noise = np.random.default_rng(seed).standard_normal((len(bit), 2))
    return np.column_stack([6.0 * bit + noise[:, 0], noise[:, 1]])


@pytest.mark.parametrize("method", ["gaussian", "ksg"])
def test_both_know_the_same_bit_of_two(method):
    a, b = bits()
    found = shared_label_information(shown(a, 1), shown(a, 2), 2 * a + b, method)
    assert found.value == pytest.approx(LN2, abs=WITHIN[method])
    assert found.low <= found.value <= found.high
    assert found.high == pytest.approx(LN2, abs=WITHIN[method])
    assert found.i_both == pytest.approx(LN2, abs=WITHIN[method])
    assert found.std_error < 0.05


@pytest.mark.parametrize("method", ["gaussian", "ksg"])
def test_each_knows_another_bit(method):
    a, b = bits()
    found = shared_label_information(shown(a, 1), shown(b, 2), 2 * a + b, method)
    assert found.value == pytest.approx(0, abs=WITHIN[method])
    assert found.i_both == pytest.approx(2 * LN2, abs=WITHIN[method])


def test_only_together_they_know():
    """The label is the exclusive or of what each knows: co-information -ln 2, and
    nothing that both hold.
    """
    a, b = bits()
    found = shared_label_information(shown(a, 1), shown(b, 2), a ^ b, "ksg")
    assert found.value == pytest.approx(-LN2, abs=0.06)
    assert found.low == 0 and found.high == pytest.approx(0, abs=0.06)


def test_a_target_that_both_see_through_noise():
    """Signal through independent unit noise: each ½ ln 2, both ½ ln 3."""
    signal, one, two = np.random.default_rng(0).standard_normal((3, 3000))
    found = shared_label_information(signal + one, signal + two, signal)
    assert found.value == pytest.approx(LN2 - 0.5 * np.log(3), abs=0.03)
    assert found.std_error == pytest.approx(0.012, abs=0.01)


def test_what_which_picture_it_is_adds_nothing():
    """Both networks hold the same noise exactly: I(H1;H2) is infinite, what they share
    of the label is not.
    """
    a, _ = bits()
    known = shown(a, 1)
    found = shared_label_information(known, 2 * known + 1, a, "ksg")
    assert found.value == pytest.approx(LN2, abs=0.04)


def test_decisions_through_a_channel():
    """The student decides as the teacher, but for one in ten drawn anew among three."""
    rng = np.random.default_rng(0)
    teacher = rng.integers(3, size=5000)
    anew = rng.random(5000) < 0.1
    student = np.where(anew, rng.integers(3, size=5000), teacher)
    same, other = 0.9 + 0.1 / 3, 0.1 / 3
    truth = np.log(3) + same * np.log(same) + 2 * other * np.log(other)
    value, error = decision_information(np.eye(3)[teacher], student)
    assert value == pytest.approx(truth, abs=3 * error) and 0 < error < 0.02
    assert decision_information(teacher, rng.integers(3, size=5000))[0] < 0.002


def test_refused():
    with pytest.raises(ValueError, match="inconsistent"):
        shared_label_information(np.ones((3, 1)), np.ones((4, 1)), [0, 1, 0])
    with pytest.raises(ValueError, match="student_output"):
        decision_information([0, 1, 1], [0.5, 0.2, 0.1])
