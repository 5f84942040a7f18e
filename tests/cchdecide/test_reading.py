"""What is read of a network, against values taken by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.svm import LinearSVC
from torch import nn
from torch.nn import functional as F

from cchdecide import collect, decide

N = 24
GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(N, 5, generator=GENERATOR)
TOKENS = torch.randn(N, 6, 5, generator=GENERATOR)
X2 = torch.randn(N, 3, generator=GENERATOR)
Y = torch.arange(N) % 2
STUDENT = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


def read(teacher, x=X, rows=N, **options):
    parts = range(0, N, rows)
    batches = [(x[i : i + rows], X2[i : i + rows], Y[i : i + rows]) for i in parts]
    return collect(teacher, STUDENT, batches, progress=False, device="cpu", **options)


def near(found, wanted):
    np.testing.assert_allclose(found, wanted.detach().numpy(), rtol=1e-4, atol=1e-5)


class Net(nn.Module):
    """A body, a head, and whatever a `forward` makes of them."""

    def __init__(self, forward, **parts):
        super().__init__()
        torch.manual_seed(0)
        self.body, self.head = nn.Linear(5, 7), nn.Linear(7, 2)
        for name, part in parts.items():
            setattr(self, name, part)
        self.how = forward

    def forward(self, x):
        return self.how(self, x)

    def features(self, x):
        return self.body(x).relu()


def changes_what_it_is_given(net, x):
    x.mul_(0)
    return net.head(net.features(x))


def test_what_is_changed_in_place_afterwards_was_read_before():
    net = nn.Sequential(nn.Linear(5, 7), nn.ReLU(inplace=True), nn.Linear(7, 2))
    near(read(net, layer=("0", None)).teacher, net[0](X))

    def later(net, x):
        hidden = net.features(x)
        out = net.head(hidden)
        hidden.zero_()
        return out

    net = Net(later)
    near(read(net).teacher, net.features(X))
    before = X.clone()
    read(Net(changes_what_it_is_given))
    assert torch.equal(X, before)
    both = collect(
        Net(changes_what_it_is_given), net, [(X, Y)], progress=False, device="cpu"
    )
    near(both.student, net.features(X))


RESULTS = {
    "features first": lambda net, x: (net.features(x), net.head(net.features(x))),
    "raw features": lambda net, x: (net.body(x), net.head(net.body(x))),
    "list of features": lambda net, x: (
        [net.features(x)] * 2,
        net.head(net.features(x)),
    ),
    "loss first": lambda net, x: (x.sum(), net.head(net.features(x))),
    "none first": lambda net, x: (None, net.head(net.features(x))),
    "named": lambda net, x: {
        "features": net.features(x),
        "pred": net.head(net.features(x)),
    },
    "object": lambda net, x: SimpleNamespace(
        prediction_logits=net.head(net.features(x))
    ),
    "auxiliary head last": lambda net, x: (
        net.head(net.features(x)),
        net.aux(net.body(x)),
    ),
    "keyword": lambda net, x: net.head(input=net.features(x)),
    "softmax": lambda net, x: net.head(net.features(x)).softmax(1),
    "log-softmax": lambda net, x: net.head(net.features(x)).log_softmax(1),
    "sigmoid": lambda net, x: net.head(net.features(x)).sigmoid(),
    "temperature": lambda net, x: net.head(net.features(x)) / 3,
    "1×1 convolution": lambda net, x: net.conv(net.features(x)[..., None])[..., 0],
}


@pytest.mark.parametrize("how", RESULTS)
def test_the_head_is_the_layer_whose_output_is_the_network_s(how):
    parts = {}
    if how == "auxiliary head last":
        parts["aux"] = nn.Linear(7, 3)
    if how == "1×1 convolution":
        parts["conv"] = nn.Conv1d(7, 2, 1)
    net = Net(RESULTS[how], **parts)
    found = read(net, rows=N - 1)  # a last batch of one
    hidden = net.body(X) if how == "raw features" else net.features(X)
    near(found.teacher, hidden)
    assert found.teacher_output.shape == (N, 2)
    said = net(X)
    if isinstance(said, torch.Tensor):
        near(found.teacher_output, said)


NO_HEAD = {
    "cosine": lambda net, x: F.linear(
        F.normalize(net.features(x)), F.normalize(net.head.weight)
    ),
    "two calls": lambda net, x: net.head(net.features(x)) + net.head(net.features(-x)),
}


@pytest.mark.parametrize("how", NO_HEAD)
def test_where_no_layer_makes_the_output_that_is_said(how):
    net = Net(NO_HEAD[how])
    often = r"head is called 2 times.*" if how == "two calls" else ""
    with pytest.raises(ValueError, match=rf"no layer's output is .*{often}`layer`"):
        read(net)
    if how == "two calls":
        for layer in ("body", "head.input"):
            with pytest.raises(ValueError, match="is called 2 times"):
                read(net, layer=(layer, None))
    else:
        near(read(net, layer=("body", None)).teacher, net.body(X))


@pytest.mark.parametrize("kind", [torch.int64, torch.bool])
def test_labels_are_no_outputs(kind):
    net = Net(lambda net, x: (net.head(net.features(x)) > 0).to(kind))
    with pytest.raises(ValueError, match=f"teacher.* got {kind}"):
        read(net)


def test_a_squeezed_axis_of_the_batch_comes_back():
    net = Net(lambda net, x: net.head(net.features(x)).squeeze())
    near(read(net, rows=N - 1).teacher_output, net(X))
    one = Net(lambda net, x: net.one(net.features(x)).squeeze(), one=nn.Linear(7, 1))
    near(read(one, rows=N - 1).teacher_output[:, 0], one(X))


def test_axes_are_known_by_the_kind_of_the_layer():
    series = torch.randn(N, 5, 9, generator=GENERATOR)
    net = nn.Sequential(
        nn.Conv1d(5, 6, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool1d(1),
        nn.Flatten(),
        nn.Linear(6, 2),
    )
    near(read(net, series, layer=("1", None)).teacher, net[:2](series).mean(2))
    grid = torch.randn(N, 3, 4, 4, generator=GENERATOR)
    last = Net(
        lambda net, x: net.head(net.norm(net.body(x.movedim(1, -1))).mean((1, 2))),
        body=nn.Linear(3, 7),
        norm=nn.LayerNorm(7),
    )
    wanted = last.norm(last.body(grid.movedim(1, -1))).mean((1, 2))
    near(read(last, grid, layer=("norm", None)).teacher, wanted)
    # torch's default is time first, and a batch may hold as many subjects as steps
    gru = Net(
        lambda net, x: net.head(net.gru(x.transpose(0, 1))[0][-1]),
        gru=nn.GRU(5, 7),
    )
    steps = gru.gru(TOKENS.transpose(0, 1))[0]
    near(read(gru, TOKENS, rows=6, layer=("gru", None)).teacher, steps.mean(0))
    near(read(gru, TOKENS, rows=6).teacher, steps[-1])


def test_axes_that_no_kind_says_are_asked():
    class Turned(nn.Module):
        def forward(self, x):
            return x.transpose(1, 2) + 0

    net = Net(lambda net, x: net.head(net.turned(net.body(x)).mean(2)), turned=Turned())
    with pytest.raises(ValueError, match="`channels` must say .* 'turned'.*7, 6"):
        read(net, TOKENS, layer=("turned", None))
    found = read(net, TOKENS, layer=("turned", None), channels=(1, None))
    near(found.teacher, net.body(TOKENS).mean(1))
    stacked = Net(
        lambda net, x: torch.stack([net.head(net.features(x)), net.two(x)]),
        two=nn.Linear(5, 2),
    )
    with pytest.raises(ValueError, match=r"one row for each of the 24 .* \(2, 24, 2\)"):
        read(stacked)


HEADS_ON_TOKENS = {
    "first": lambda out: out[:, 0],
    "last": lambda out: out[:, -1],
    "mean": lambda out: out.mean(1),
    "each its own": lambda out: out[torch.arange(len(out)), torch.arange(len(out)) % 4],
}


@pytest.mark.parametrize("how", HEADS_ON_TOKENS)
def test_a_head_on_all_tokens_is_followed_to_the_one_that_was_taken(how):
    """As GPT-2's and Llama's classifiers do."""
    choose = HEADS_ON_TOKENS[how]
    net = Net(lambda net, x: choose(net.head(net.features(x))))
    near(read(net, TOKENS).teacher, choose(net.features(TOKENS)))


LENGTHS = torch.randint(1, 7, (N,), generator=GENERATOR)
KEEP = torch.arange(6)[None] < LENGTHS[:, None]
MASKS = {
    "long": ("attention_mask", KEEP.long()),
    "bool": ("attention_mask", KEEP),
    "float": ("attention_mask", KEEP.float()),
    "additive": ("attention_mask", torch.where(KEEP, 0.0, -1e4)),
    "extended": ("attention_mask", KEEP[:, None, None].long()),
    "padding": ("src_key_padding_mask", ~KEEP),
}


class Masked(nn.Module):
    def __init__(self, name):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Linear(5, 7)
        signature = f"lambda x, {name}: self.hidden(x)"
        self.forward = eval(signature, {"self": self})  # noqa: S307

    def hidden(self, x):
        return {"last_hidden_state": self.body(x)}


@pytest.mark.parametrize("form", MASKS)
@pytest.mark.parametrize("by_name", [True, False])
def test_padding_is_left_out_whatever_marks_it(form, by_name):
    name, mask = MASKS[form]
    net = Masked(name)
    batch = (TOKENS, mask, X2, Y)
    found = collect(
        net,
        STUDENT,
        [batch],
        teacher_input={"x": 0, name: 1} if by_name else [0, 1],
        student_input=2,
        label=3,
        progress=False,
        device="cpu",
    )
    hidden, weight = net.body(TOKENS), KEEP[..., None].float()
    near(found.teacher, (hidden * weight).sum(1) / weight.sum(1))
    assert "mean over the 6 positions that the mask keeps" in repr(found)


@pytest.mark.parametrize(
    "mask, message",
    [
        (torch.ones(N, 24), "mask of 24 inputs for a representation of 6 positions"),
        (torch.where(torch.arange(N)[:, None] == 3, 0, KEEP.long()), "none of row 4"),
        (torch.ones(N, 6, 6), "shape .b, tokens., got"),
    ],
)
def test_a_mask_that_can_not_be_used_is_told(mask, message):
    batch = {"x": TOKENS, "attention_mask": mask, "x2": X2, "y": Y}
    keys = ["x", "attention_mask"]
    with pytest.raises(ValueError, match=f"teacher_input.* {message}"):
        collect(
            Masked("attention_mask"),
            STUDENT,
            [batch],
            teacher_input=keys,
            progress=False,
            device="cpu",
        )


class TakesADict(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(5, 7), nn.Linear(7, 2)

    def forward(self, batch):
        return self.head(self.body(batch["x"]))


def test_nested_batches():
    net = TakesADict()
    wanted = net.body(X)
    near(read_parts(net, [({"x": X}, X2, Y)]).teacher, wanted)
    batch = {"x": X, "student": X2, "label": Y}
    found = read_parts(net, [batch], teacher_input={"batch": ["x"]})
    near(found.teacher, wanted)
    with pytest.raises(ValueError, match=r"forward\(batch\).*\{'batch': \[keys"):
        read_parts(net, [batch], teacher_input=["x"])
    with pytest.raises(
        ValueError, match=r"teacher_input.*\(x1, x2, y\) for \(x1, x2\)"
    ):
        read_parts(Net(RESULTS["softmax"]), [((X, X2), Y)])


def read_parts(teacher, batches, **options):
    return collect(teacher, STUDENT, batches, progress=False, device="cpu", **options)


def test_an_index_is_no_label():
    """Batches (tokens, label, index): the last part would be taken for the label."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Embedding(9, 6), nn.Linear(6, 3))
    tokens, classes = torch.arange(30) % 7, torch.arange(30) % 3
    batch = [(tokens, classes, torch.arange(30))]
    with pytest.raises(ValueError, match="label.* 30 whole numbers .* as of an index"):
        collect(network, network, batch, progress=False)
    said = dict(teacher_input=0, student_input=0, label=1)
    found = collect(network, network, batch, progress=False, **said)
    assert np.array_equal(found.labels, classes)


def test_compiled_scripted_and_lazy_networks():
    net = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 2)).eval()
    compiled = torch.compile(net, backend="eager")
    with torch.no_grad():
        compiled(X)
    for layer in ("1", "_orig_mod.1", None):
        near(read(compiled, layer=(layer, None)).teacher, net[:2](X))
    with pytest.raises(ValueError, match="teacher.* TorchScript"):
        read(torch.jit.trace(net, X))
    with pytest.raises(ValueError, match="teacher.* lazy layers"):
        read(nn.Sequential(nn.LazyLinear(7), nn.ReLU(), nn.LazyLinear(2)))
    with pytest.raises(ValueError, match="teacher.* meta device"):
        read(nn.Linear(5, 2, device="meta"))


# scikit-learn: columns are matched by classes_

NAMES = np.array(["normal", "benign"])


def fitted(model, labels):
    return model.fit(X.numpy(), labels)


def test_classes_of_a_model_are_matched_by_name():
    names = NAMES[Y.numpy()]
    model = fitted(LogisticRegression(), names)
    with pytest.raises(ValueError, match="label.*benign, normal.*give `classes`"):
        read(model)
    found = read(model, classes=NAMES)
    p = model.predict_proba(X.numpy())
    np.testing.assert_allclose(found.teacher_output, p[:, ::-1], rtol=1e-5)
    assert found.classes == ("normal", "benign")
    assert found.arrays()["classes"].tolist() == list(found.classes)
    parts = [(X, X2, names)]
    by_text = read_parts(model, parts)
    np.testing.assert_allclose(by_text.teacher_output, p, rtol=1e-5)
    assert by_text.classes == ("benign", "normal")


def test_a_class_that_a_model_never_saw_has_no_probability():
    three = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 3))
    model = fitted(LogisticRegression(), Y.numpy() + 1)  # classes 1 and 2
    found = collect(model, three, [(X, X2, Y)], progress=False, device="cpu")
    p = model.predict_proba(X.numpy())
    np.testing.assert_allclose(found.teacher_output[:, 1:], p, rtol=1e-5)
    assert not found.teacher_output[:, 0].any() and found.classes == ("0", "1", "2")


@pytest.mark.parametrize("model", [LinearSVC(), RidgeClassifier()])
def test_scores_stand_in_for_probabilities_and_that_is_said(model):
    found = read(fitted(model, Y.numpy()))
    scores = model.decision_function(X.numpy())
    np.testing.assert_allclose(found.teacher[:, 0], scores, rtol=1e-5)
    np.testing.assert_allclose(found.teacher_output[:, 1], scores, rtol=1e-5)
    assert "uncalibrated" in found.notes[0]
    quick = dict(cch=False, folds=3, repeats=1, lams=(0.5,), temperatures=(1.0,))
    assert found.notes[0] in decide(found, **quick).checks


def test_a_network_without_a_head_is_no_classifier_of_sixteen():
    def backbone():
        return nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 16))

    found = collect(backbone(), backbone(), [(X, Y)], progress=False, device="cpu")
    with pytest.raises(ValueError, match="16 classes .* got 2 .* without a head"):
        decide(found, cch=False)


# Architectures as their packages make them: small, with random weights.


@pytest.mark.parametrize(
    "kind", ["Bert", "DistilBert", "GPT2", "ViT", "Swin", "ConvNext", "Wav2Vec2"]
)
def test_classifiers_of_transformers(kind):
    transformers = pytest.importorskip("transformers")
    small = dict(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        num_labels=3,
    )
    ids, mask = torch.randint(1, 40, (N, 6), generator=GENERATOR), KEEP.long()
    tokens = {"input_ids": ids, "attention_mask": mask}
    image = {"pixel_values": torch.randn(N, 3, 32, 32, generator=GENERATOR)}
    settings = {
        "Bert": (dict(vocab_size=50, **small), tokens),
        "DistilBert": (dict(vocab_size=50, dim=16, n_layers=2, n_heads=2), tokens),
        "GPT2": (dict(vocab_size=50, n_embd=16, n_layer=2, n_head=2), tokens),
        "ViT": (dict(image_size=32, patch_size=8, **small), image),
        "Swin": (
            dict(
                image_size=32,
                patch_size=4,
                embed_dim=8,
                depths=[1, 1],
                num_heads=[2, 2],
                window_size=4,
            ),
            image,
        ),
        "ConvNext": (dict(hidden_sizes=[8, 8, 8, 16], depths=[1, 1, 1, 1]), image),
        "Wav2Vec2": (
            dict(
                conv_dim=[8, 8],
                conv_kernel=[4, 3],
                conv_stride=[4, 2],
                num_feat_extract_layers=2,
                num_conv_pos_embedding_groups=2,
                num_conv_pos_embeddings=4,
                **small,
            ),
            {
                "input_values": torch.randn(N, 200, generator=GENERATOR),
                "attention_mask": (
                    torch.arange(200)[None] < 30 * LENGTHS[:, None]
                ).long(),
            },
        ),
    }
    options, inputs = settings[kind]
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(
        **{**options, "num_labels": 3, "pad_token_id": 0}
    )
    images = kind in ("ViT", "Swin", "ConvNext")
    suffix = "ImageClassification" if images else "SequenceClassification"
    network = getattr(transformers, f"{kind}For{suffix}")(config).eval()
    batch = {**inputs, "x2": X2, "y": torch.arange(N) % 3}
    student = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 3))
    found = collect(
        network,
        student,
        [batch],
        teacher_input=list(inputs),
        progress=False,
        device="cpu",
    )
    with torch.no_grad():
        logits = network(**inputs).logits
    near(found.teacher_output, logits)
    head = [m for m in network.modules() if getattr(m, "out_features", 0) == 3][-1]
    hidden = torch.from_numpy(found.teacher)
    with torch.no_grad():
        near(found.teacher_output, head(hidden))


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224", "convnext_atto"])
def test_classifiers_of_timm(name):
    timm = pytest.importorskip("timm")
    network = timm.create_model(name, num_classes=2).eval()
    image = torch.randn(4, 3, 224, 224, generator=GENERATOR)
    with torch.no_grad():
        wanted = network.forward_head(network.forward_features(image), pre_logits=True)
    batch = [(image, X2[:4], Y[:4])]
    found = collect(network, STUDENT, batch, progress=False, device="cpu")
    near(found.teacher, wanted)
