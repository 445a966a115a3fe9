"""Built-in models against PyTorch: the same weights give the same outputs, and first weights are drawn alike.

    ONGRAD=build/release/ongrad python3 -m pytest tests/models/test_builtin_torch.py

Needs torch, torchvision, transformers, onnx. Models made by ongrad new lend their weights to torchvision's resnet and
VisionTransformer, transformers' GPT-2 and BERT, nn.TransformerEncoderLayer and nn.LSTM."""
import math
import os
import pathlib
import subprocess

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
torch = pytest.importorskip("torch")
torchvision = pytest.importorskip("torchvision")
transformers = pytest.importorskip("transformers")
nn = torch.nn

ONGRAD = str(pathlib.Path(os.environ.get("ONGRAD", "build/release/ongrad")).resolve())


def run(*arguments):
    subprocess.run([ONGRAD, *map(str, arguments)], check=True, capture_output=True, text=True, timeout=600)


def new(folder, arguments, replaced=()):
    """The model's weights by name. Those whose names end as `replaced` says begin as zeros: made random in the file."""
    path = folder / "model.onnx"
    run("new", *arguments, "-o", path, "-q", "--overwrite", "--seed", "7")
    model = onnx.load(str(path))
    random = np.random.default_rng(1)
    for tensor in model.graph.initializer:
        if tensor.name.endswith(tuple(replaced)):
            w = random.uniform(0.5, 1.5, list(tensor.dims)).astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(w, tensor.name))
    onnx.save(model, str(path))
    return {t.name: torch.from_numpy(np.array(onnx.numpy_helper.to_array(t))) for t in model.graph.initializer}


def predict(folder, **inputs):
    data = []
    for name, x in inputs.items():
        np.save(folder / f"{name}.npy", x.numpy())
        data += ["--data", f"{name}={folder / name}.npy"]
    run("predict", folder / "model.onnx", *data, "-o", folder / "y.npy", "-q")
    return torch.from_numpy(np.load(folder / "y.npy"))


# Names of weights here and in PyTorch's modules. Those of products are [in, out] here.
ATTENTION = [(".in_proj.weight", ".in_proj_weight"), (".in_proj.bias", ".in_proj_bias")]
GPT = [("attn.in_proj", "attn.c_attn"), ("attn.out_proj", "attn.c_proj")]


def lend(weights, module, renames=(), transpose=True, prefix=""):
    """module's state from the weights; every tensor of both is used."""
    state = module.state_dict()
    for name, w in weights.items():
        for here, there in renames:
            name = name.replace(here, there)
        name = prefix + name
        assert name in state, name
        state[name].copy_(w.T if transpose and w.ndim == 2 and "embedding" not in name else w)
    missing = set(state) - {n for n in state if n.endswith("num_batches_tracked")} - \
        {prefix + rename(n, renames) for n in weights}
    assert not missing, missing
    return module.double().eval()


def rename(name, renames):
    for here, there in renames:
        name = name.replace(here, there)
    return name


def close(y, expected):
    """float32 against float64: 1e-5 of the largest output, sums of up to thousands of products in many layers."""
    expected = expected.detach()
    assert y.shape == expected.shape
    assert (y - expected).abs().max() < 1e-5 * expected.abs().max(), (y - expected).abs().max() / expected.abs().max()


NORMS = ["running_mean", "running_var", "bn1.weight", "bn1.bias"]


@pytest.mark.parametrize("depth", [18, 34, 50])
def test_resnet(depth, tmp_path):
    w = new(tmp_path, ["resnet", "--depth", depth, "--image_size", 70, "--num_classes", 9], NORMS)
    model = lend(w, getattr(torchvision.models, f"resnet{depth}")(num_classes=9))
    x = torch.randn(2, 3, 70, 70)
    close(predict(tmp_path, image=x), model(x.double()))


def test_vit(tmp_path):
    w = new(tmp_path, ["vit", "--image_size", 32, "--patch_size", 8, "--num_layers", 2, "--d_model", 48, "--num_heads", 3,
                       "--dim_feedforward", 80, "--num_classes", 7],
            ["class_token", "heads.head.weight", "heads.head.bias", "proj.bias"])
    model = lend(w, torchvision.models.VisionTransformer(32, 8, 2, 3, 48, 80, num_classes=7), ATTENTION)
    x = torch.randn(2, 3, 32, 32)
    close(predict(tmp_path, image=x), model(x.double()))


@pytest.mark.parametrize("tied", [True, False])
def test_gpt(tied, tmp_path):
    w = new(tmp_path, ["gpt", "--vocab_size", 60, "--sequence_length", 20, "--num_layers", 2, "--d_model", 48, "--num_heads",
                       4] + ([] if tied else ["--no_tie_head"]), ["bias"])
    config = transformers.GPT2Config(vocab_size=60, n_positions=20, n_embd=48, n_layer=2, n_head=4,
                                     tie_word_embeddings=tied, attn_implementation="eager")
    model = transformers.GPT2LMHeadModel(config)
    head = w.pop("lm_head.weight", w["wte.weight"])
    model.lm_head.weight.data.copy_(head)
    lend(w, model.transformer, GPT, transpose=False)
    x = torch.randint(0, 60, (2, 20))
    close(predict(tmp_path, tokens=x), model.double().eval()(x).logits)


def test_bert(tmp_path):
    w = new(tmp_path, ["bert", "--vocab_size", 60, "--sequence_length", 20, "--num_layers", 2, "--d_model", 48, "--num_heads", 4],
            ["bias", "norm.weight"])
    config = transformers.BertConfig(vocab_size=60, max_position_embeddings=20, hidden_size=48, num_hidden_layers=2,
                                     num_attention_heads=4, intermediate_size=192, attn_implementation="eager")
    model = transformers.BertForMaskedLM(config)
    layer = "bert.encoder.layer."
    names = [("embeddings.word_embedding.weight", "bert.embeddings.word_embeddings.weight"),
             ("embeddings.position_embedding.weight", "bert.embeddings.position_embeddings.weight"),
             ("embeddings.norm", "bert.embeddings.LayerNorm"), ("layers.", layer), ("intermediate.", "intermediate.dense."),
             ("attention.norm", "attention.output.LayerNorm"), ("output.norm", "output.LayerNorm"),
             ("attention.out_proj", "attention.output.dense"), ("head.bias", "cls.predictions.bias"),
             ("head.dense", "cls.predictions.transform.dense"), ("head.norm", "cls.predictions.transform.LayerNorm")]
    for i in range(2):
        for kind in ("weight", "bias"):
            parts = w.pop(f"layers.{i}.attention.in_proj.{kind}").chunk(3, -1)
            for part, t in zip(("query", "key", "value"), parts, strict=True):
                w[f"layers.{i}.attention.self.{part}.{kind}"] = t
    segment = w.pop("embeddings.segment_embedding")
    w["bert.embeddings.token_type_embeddings.weight"] = torch.stack([segment, segment])
    model.cls.predictions.decoder.weight = model.bert.embeddings.word_embeddings.weight
    w["cls.predictions.decoder.weight"] = w["embeddings.word_embedding.weight"].T  # lend turns it back
    w["cls.predictions.decoder.bias"] = w["head.bias"]
    lend(w, model, names)
    x = torch.randint(0, 60, (2, 20))
    close(predict(tmp_path, tokens=x), model(x).logits)


@pytest.mark.parametrize("layers, both", [(1, False), (2, True)])
def test_lstm(layers, both, tmp_path):
    w = new(tmp_path, ["lstm", "--input_size", 6, "--sequence_length", 9, "--hidden_size", 16, "--num_layers", layers,
                       "--num_outputs", 3] + (["--bidirectional"] if both else []))
    directions = 2 if both else 1
    lstm, head = nn.LSTM(6, 16, layers, batch_first=True, bidirectional=both), nn.Linear(16 * directions, 3)

    def gates(t):  # input, output, forget, cell in ONNX; input, forget, cell, output in PyTorch
        i, o, f, c = t.chunk(4)
        return torch.cat([i, f, c, o])
    state = lstm.state_dict()
    for k in range(layers):
        for d in range(directions):
            end = f"_l{k}" + ("_reverse" if d else "")
            ih, hh = w[f"layers.{k}.bias"][d].chunk(2)
            for name, t in [("weight_ih", w[f"layers.{k}.weight_ih"][d]), ("weight_hh", w[f"layers.{k}.weight_hh"][d]),
                            ("bias_ih", ih), ("bias_hh", hh)]:
                state[name + end].copy_(gates(t))
    head.weight.data.copy_(w["head.weight"].T)
    head.bias.data.copy_(w["head.bias"])
    x = torch.randn(3, 9, 6)
    _, (h, _) = lstm.double()(x.double())
    close(predict(tmp_path, x=x), head.double()(h[-directions:].transpose(0, 1).flatten(1)))


class Streams(nn.Module):
    """models/transformer.c in PyTorch's modules."""

    def __init__(self, d, heads, layers, steps, features, frames, face, outputs):
        super().__init__()
        self.stems = nn.ModuleDict({
            "features": nn.Linear(features, d),
            "frame": nn.Sequential(*(m for i in range(4) for m in
                                     (nn.Conv2d(16 << i if i else 3, 32 << i, 3, 2, 1), nn.ReLU())),
                                   nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, d)),
            "face": nn.Conv2d(3, d, 16, 16)})
        self.streams = nn.ParameterDict({n: torch.zeros(d) for n in ("features_224", "video", "face")})
        self.places = nn.Parameter(torch.zeros(steps + frames + (face // 16) ** 2, d))
        self.layers = nn.ModuleList(nn.TransformerEncoderLayer(d, heads, 4 * d, 0.1, "gelu", batch_first=True,
                                                               norm_first=True) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(d), nn.Linear(d, outputs)

    def lend(self, w):
        for name, parameter in self.named_parameters():
            parts = name.split(".")
            if parts[0] == "streams":
                name = f"{parts[1]}.embedding"
            elif parts[0] == "places":
                name = "position_embedding"
            elif parts[:2] == ["stems", "features"]:
                name = f"features_224.projection.{parts[2]}"
            elif parts[:2] == ["stems", "face"]:
                name = f"face.patches.{parts[2]}"
            elif parts[:2] == ["stems", "frame"]:
                at = int(parts[2])
                name = f"video.projection.{parts[3]}" if at == 10 else f"video.stem.{at // 2}.conv.{parts[3]}"
            else:
                name = name.replace("in_proj_", "in_proj.")
            t = w.pop(name)
            parameter.data.copy_(t.T if t.ndim == 2 and "embedding" not in name else t)
        assert not w, w.keys()
        return self.double().eval()

    def forward(self, features, video, face):
        n, frames = video.shape[:2]
        tokens = [self.stems["features"](features) + self.streams["features_224"],
                  self.stems["frame"](video.flatten(0, 1)).view(n, frames, -1) + self.streams["video"],
                  self.stems["face"](face).flatten(2).transpose(1, 2) + self.streams["face"]]
        x = torch.cat(tokens, 1) + self.places
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x).mean(1))


def test_transformer(tmp_path):
    w = new(tmp_path, ["transformer", "--num_layers", 2, "--d_model", 48, "--num_heads", 4, "--feature_size", 12,
                       "--feature_steps", 5, "--frames", 3, "--video_size", 40, "--face_size", 37, "--num_classes", 6],
            ["proj.bias"])
    model = Streams(48, 4, 2, 5, 12, 3, 37, 6).lend(dict(w))
    x = {"features_224": torch.randn(2, 5, 12), "video": torch.randn(2, 3, 3, 40, 40), "face": torch.randn(2, 3, 37, 37)}
    close(predict(tmp_path, **x), model(*(t.double() for t in x.values())))


# ---- first weights -------------------------------------------------------------------------------------------

def kurtosis_error(n):
    return 6 * math.sqrt(24 / n)  # of a normal distribution; a uniform one's is smaller


def check_drawn_alike(name, ours, theirs):
    """Mean and standard deviation of both within six standard errors of each other, and the same kind of distribution."""
    a, b = ours.double().flatten(), theirs.double().flatten()
    if b.numel() < 2 or b.std() == 0:
        assert torch.equal(a, b), name
        return
    n, deviation = b.numel(), b.std()
    assert abs(a.mean() - b.mean()) < 6 * deviation * math.sqrt(2 / n), name
    assert abs(a.std() / deviation - 1) < 6 * math.sqrt(2 / (2 * n)), name  # of a normal distribution
    if n > 4000:
        def kurtosis(t):
            return ((t - t.mean()) ** 4).mean() / t.var() ** 2
        assert abs(kurtosis(a) - kurtosis(b)) < 2 * kurtosis_error(n) + 0.05, name


FIRST = {
    "resnet18": (["resnet"], lambda: torchvision.models.resnet18(), []),
    "resnet50": (["resnet", "--depth", 50], lambda: torchvision.models.resnet50(), []),
    "vit": (["vit", "--num_layers", 2, "--image_size", 64],
            lambda: torchvision.models.VisionTransformer(64, 16, 2, 12, 768, 3072), ATTENTION),
    "gpt": (["gpt", "--num_layers", 3, "--vocab_size", 900, "--sequence_length", 64],
            lambda: transformers.GPT2Model(transformers.GPT2Config(vocab_size=900, n_positions=64, n_layer=3)), GPT),
}


@pytest.mark.parametrize("name", FIRST)
def test_first_weights(name, tmp_path):
    arguments, make, renames = FIRST[name]
    w = new(tmp_path, arguments)
    torch.manual_seed(0)
    state = make().state_dict()
    for here, t in w.items():
        check_drawn_alike(here, t, state[rename(here, renames)])


def test_first_weights_of_layers(tmp_path):
    w = new(tmp_path, ["transformer", "--num_layers", 1, "--d_model", 192])
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(192, 3, 768, norm_first=True)
    for name, t in layer.state_dict().items():
        check_drawn_alike(name, w["layers.0." + name.replace("in_proj_", "in_proj.")], t)
    for name, module in {"features_224.projection": nn.Linear(224, 192), "video.stem.1.conv": nn.Conv2d(32, 64, 3),
                         "face.patches": nn.Conv2d(3, 192, 16), "head": nn.Linear(192, 10)}.items():
        check_drawn_alike(name, w[f"{name}.weight"], module.weight)
        check_drawn_alike(name, w[f"{name}.bias"], module.bias)
    w = new(tmp_path, ["lstm"])
    lstm = nn.LSTM(64, 256)
    check_drawn_alike("ih", w["layers.0.weight_ih"], lstm.weight_ih_l0)
    check_drawn_alike("hh", w["layers.0.weight_hh"], lstm.weight_hh_l0)
    check_drawn_alike("bias", w["layers.0.bias"], torch.cat([lstm.bias_ih_l0, lstm.bias_hh_l0]))
    w = new(tmp_path, ["cnn"])
    check_drawn_alike("conv", w["blocks.1.conv.weight"], nn.Conv2d(32, 64, 3).weight)
