"""From networks and a loader to arrays: against outputs computed by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression, LogisticRegression
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from cchdecide import collect
from cchdecide.collecting import Representations
from cchdecide.outputs import target_of


@pytest.fixture
def case():
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    x1, x2 = (torch.randn(25, p, generator=generator) for p in (5, 3))
    y = torch.randint(0, 2, (25,), generator=generator)
    teacher = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Dropout(), nn.Linear(7, 2))
    student = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    return SimpleNamespace(x1=x1, x2=x2, y=y, teacher=teacher, student=student)


def loader(*tensors, size=8):
    return DataLoader(TensorDataset(*tensors), batch_size=size)


def quiet(*args, **options):
    return collect(*args, progress=False, device="cpu", **options)


def expected(network, x, upto):
    with torch.no_grad():
        return network[:upto](x).numpy()


def test_default_is_the_input_of_the_last_linear(case):
    case.teacher.train()
    case.teacher[2].eval()  # a module in a mode of its own stays in it
    found = quiet(case.teacher, case.student, loader(case.x1, case.x2, case.y))
    modes = [m.training for m in case.teacher.modules()]
    assert modes == [True, True, True, False, True]
    assert all(p.requires_grad and p.grad is None for p in case.teacher.parameters())
    assert not any(m._forward_hooks for m in case.teacher.modules())
    case.teacher.eval()
    np.testing.assert_allclose(found.teacher, expected(case.teacher, case.x1, 2), 1e-6)
    np.testing.assert_allclose(found.student, expected(case.student, case.x2, 2), 1e-6)
    np.testing.assert_allclose(
        found.teacher_output, expected(case.teacher, case.x1, 4), 1e-5, 1e-6
    )
    assert found.student_output.dtype == np.float32
    assert (found.labels == case.y.numpy()).all()
    assert "25 subjects" in repr(found)


def test_a_named_layer_gives_its_output(case):
    found = quiet(
        case.teacher,
        case.student,
        loader(case.x1, case.x2, case.y),
        layer=("0", None),
    )
    np.testing.assert_allclose(
        found.teacher, expected(case.teacher, case.x1, 1), 1e-5, 1e-6
    )
    assert found.student.shape == (25, 4)


def test_dicts_keys_and_shared_inputs(case):
    batches = [{"image": case.x1, "text": case.x2, "y": case.y}]
    found = quiet(
        case.teacher,
        case.student,
        batches,
        teacher_input="image",
        student_input={"input": "text"},
    )
    assert found.teacher.shape == (25, 7) and found.student.shape == (25, 4)
    both = quiet(case.teacher, case.teacher, loader(case.x1, case.y))
    np.testing.assert_array_equal(both.teacher, both.student)


class HuggingFaceLike(nn.Module):
    """Tokens in, an object with .last_hidden_state and perhaps .logits out."""

    def __init__(self, logits: bool):
        super().__init__()
        self.embedding = nn.Embedding(11, 6)
        self.head = nn.Linear(6, 2) if logits else None

    def forward(self, input_ids, attention_mask):
        hidden = self.embedding(input_ids)
        if self.head is None:
            return SimpleNamespace(last_hidden_state=hidden)
        return SimpleNamespace(logits=self.head(hidden[:, 0]), last_hidden_state=None)


def test_hugging_face_outputs_and_masked_means(case):
    ids = torch.randint(0, 11, (25, 4))
    mask = torch.ones(25, 4, dtype=torch.long)
    mask[:, 3] = 0
    batches = [
        {"input_ids": ids, "attention_mask": mask, "x2": case.x2, "labels": case.y}
    ]
    for logits in (False, True):
        network = HuggingFaceLike(logits)
        keys = ["input_ids", "attention_mask"]
        found = quiet(network, case.student, batches, teacher_input=keys)
        hidden = network.embedding(ids).detach()
        wanted = hidden[:, 0] if logits else hidden[:, :3].mean(1)
        np.testing.assert_allclose(found.teacher, wanted, 1e-5, 1e-6)
        assert (found.teacher_output is not None) == logits


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_half_precision_becomes_float32(case, kind):
    teacher = case.teacher.to(kind)
    found = quiet(teacher, case.student, loader(case.x1, case.x2, case.y))
    assert found.teacher.dtype == found.teacher_output.dtype == np.float32
    assert next(teacher.parameters()).dtype == kind


def test_images_are_means_over_pixels(case):
    convolution = nn.Sequential(nn.Conv2d(1, 3, 2), nn.Flatten(), nn.Linear(27, 2))
    image = torch.randn(25, 1, 4, 4)
    found = quiet(
        convolution, case.student, loader(image, case.x2, case.y), layer=("0", "1")
    )
    wanted = convolution[0](image).mean((2, 3)).detach().numpy()
    np.testing.assert_allclose(found.teacher, wanted, 1e-5, 1e-6)


def test_scikit_learn_models(case):
    x1, y = case.x1.numpy(), case.y.numpy()
    model = LogisticRegression().fit(x1, y)
    found = quiet(model, case.student, loader(case.x1, case.x2, case.y))
    np.testing.assert_allclose(found.teacher_output, model.predict_proba(x1), 1e-5)
    np.testing.assert_allclose(
        found.teacher[:, 0], model.decision_function(x1), 1e-4, 1e-5
    )
    line = LinearRegression().fit(x1, case.x2[:, 0])
    target = case.x2[:, 0].double()
    found = quiet(line, case.student, loader(case.x1, case.x2, target))
    np.testing.assert_allclose(found.teacher_output[:, 0], line.predict(x1), 1e-4, 1e-6)
    assert found.labels.dtype == np.float64


def test_a_column_of_labels_stays_a_target_and_of_classes_becomes_classes(case):
    """Ratings of few values: `decide` asks which they are, and a column says it."""
    ratings = 1 + case.y[:, None].double()
    found = quiet(case.teacher, case.student, loader(case.x1, case.x2, ratings))
    assert found.labels.shape == (len(ratings), 1)
    assert target_of(found.labels).codes is None
    classes = case.y[:, None]
    for binary in (classes, classes.float()):  # the latter for a cross-entropy
        found = quiet(case.teacher, case.student, loader(case.x1, case.x2, binary))
        assert found.labels.shape == (len(classes),)


def test_a_generator_of_unknown_length_grows(case):
    def batches():
        for i in range(25):
            name = np.array(["a" * (1 + int(case.y[i]))])
            yield case.x1[i : i + 1], case.x2[i : i + 1], name

    found = quiet(case.teacher, case.student, batches())
    assert found.teacher.shape == (25, 7) and len(found.teacher) == 25
    assert set(found.labels) == {"a", "aa"}


def test_save_is_whole_and_read_back(case, tmp_path):
    found = quiet(case.teacher, case.student, loader(case.x1, case.x2, case.y))
    path = found.save(tmp_path / "new" / "mine.npz")
    with np.load(path) as file:
        for name, array in found.arrays().items():
            np.testing.assert_array_equal(file[name], array)
    assert [p.name for p in path.parent.iterdir()] == ["mine.npz"]
    with pytest.raises(ValueError, match="`path` must end in .npz, got mine.csv"):
        found.save(tmp_path / "mine.csv")
    assert list(Representations(found.teacher, found.student, found.labels).arrays())


@pytest.mark.parametrize(
    "change, message",
    [
        (
            dict(layer="nothing"),
            "`layer` must be a module of the teacher.* got 'nothing'",
        ),
        (
            dict(layer=("0", "1", "2")),
            "`layer` must be one, or the teacher's and the student's",
        ),
        (dict(teacher_input=7), "`teacher_input` must be one of 3 parts.* got 7"),
        (dict(loader=[]), "`loader` must give at least one batch"),
        (dict(loader=[3]), "`loader` must give tuples.* got batches of type int"),
        (dict(teacher=len), "`teacher` .* got builtin_function_or_method"),
        (
            dict(loader=[{"a": 1}]),
            "`teacher_input` and `student_input` and `label` must be keys",
        ),
        (
            dict(teacher=nn.Flatten()),
            "layer is None and no layer.s output is the teacher",
        ),
    ],
)
def test_bad_input_is_refused_by_name(case, change, message):
    arguments = dict(
        teacher=case.teacher,
        student=case.student,
        loader=loader(case.x1, case.x2, case.y),
    )
    with pytest.raises(ValueError, match=message):
        quiet(**(arguments | change))


def test_nan_and_unequal_rows_are_refused(case):
    x1 = case.x1.clone()
    x1[3, 0] = torch.nan
    with pytest.raises(ValueError, match="teacher.* must be finite"):
        quiet(case.teacher, case.student, loader(x1, case.x2, case.y))
    batches = [(case.x1, case.x2[:5], case.y)]
    with pytest.raises(
        ValueError, match="`student` must return one row for each .*, got .5, 2"
    ):
        quiet(case.teacher, case.student, batches)
    assert case.teacher.training  # restored after an error too


@pytest.mark.parametrize("gap", [float("nan"), float("inf")])
def test_a_label_that_is_no_number_is_refused(case, gap):
    labels = case.y.double()
    labels[3] = gap
    with pytest.raises(ValueError, match="label.* must be finite"):
        quiet(case.teacher, case.student, loader(case.x1, case.x2, labels))
