"""Models in plain torch.nn, for comparisons (bench_torch.py, gpu/torch_steps.py): the published shapes, and the parameters of
ongrad's built-in models of the same names. Without dropout."""
import torch
from torch import nn
from torch.nn import functional


class LightTransformer(nn.Module):
    """Two pre-norm encoder layers of width 768 over [N, 32, 512]; scores of ten classes. stream: a vector is added to every
    token, as ongrad's lightweight_transformer has one for each kind of input."""

    def __init__(self, stream=False, width=768, tokens=32, features=512, heads=8, layers=2):
        super().__init__()
        self.embed = nn.Linear(features, width)
        self.position = nn.Parameter(0.02 * torch.randn(1, tokens, width))
        self.stream = nn.Parameter(0.02 * torch.randn(width)) if stream else None
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True,
                                           norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 10)

    def forward(self, x):
        x = self.embed(x) + self.position
        if self.stream is not None:
            x = x + self.stream
        return self.head(self.norm(self.encoder(x)).mean(1))


class Block(nn.Module):
    """Attention and a feed-forward layer of four times the width, each with a residual sum. last: norms behind the sums."""

    def __init__(self, width, heads, epsilon, causal=False, tanh=False, last=False):
        super().__init__()
        self.heads, self.causal, self.last = heads, causal, last
        self.norm1, self.norm2 = nn.LayerNorm(width, epsilon), nn.LayerNorm(width, epsilon)
        self.in_projection, self.out_projection = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.feed_forward = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU("tanh" if tanh else "none"),
                                          nn.Linear(4 * width, width))

    def attention(self, x):
        n, tokens, width = x.shape
        q, k, v = self.in_projection(x).view(n, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.out_projection(y.transpose(1, 2).reshape(n, tokens, width))

    def forward(self, x):
        if self.last:
            x = self.norm1(x + self.attention(x))
            return self.norm2(x + self.feed_forward(x))
        x = x + self.attention(self.norm1(x))
        return x + self.feed_forward(self.norm2(x))


def small(parameter):
    """Initial weights of deviation 0.02: scores of words by their embeddings then begin small."""
    nn.init.normal_(parameter, std=0.02)
    return parameter


class GPT2(nn.Module):
    """[N, S] tokens to [N, S, words] scores of the next one (Radford et al. 2019)."""

    def __init__(self, words=50257, tokens=1024, width=768, layers=12, heads=12):
        super().__init__()
        self.words, self.places = nn.Embedding(words, width), nn.Embedding(tokens, width)
        self.blocks = nn.Sequential(*(Block(width, heads, 1e-5, causal=True, tanh=True) for _ in range(layers)))
        self.norm = nn.LayerNorm(width, 1e-5)
        small(self.words.weight), small(self.places.weight)

    def forward(self, x):
        y = self.words(x) + self.places.weight[:x.shape[1]]
        return functional.linear(self.norm(self.blocks(y)), self.words.weight)


class BERT(nn.Module):
    """[N, S] tokens, all of the first segment, to [N, S, words] scores of what belongs in each place (Devlin et al. 2019)."""

    def __init__(self, words=30522, tokens=512, segments=2, width=768, layers=12, heads=12):
        super().__init__()
        self.words, self.places, self.segments = (nn.Embedding(n, width) for n in (words, tokens, segments))
        self.norm = nn.LayerNorm(width, 1e-12)
        self.blocks = nn.Sequential(*(Block(width, heads, 1e-12, last=True) for _ in range(layers)))
        self.head = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width, 1e-12))
        self.bias = nn.Parameter(torch.zeros(words))
        for embedding in (self.words, self.places, self.segments):
            small(embedding.weight)

    def forward(self, x):
        y = self.norm(self.words(x) + self.places.weight[:x.shape[1]] + self.segments.weight[0])
        return functional.linear(self.head(self.blocks(y)), self.words.weight, self.bias)


class ViT(nn.Module):
    """[N, 3, side, side] images to [N, classes] (Dosovitskiy et al. 2020)."""

    def __init__(self, side=224, patch=16, width=768, layers=12, heads=12, classes=1000):
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.position = nn.Parameter(0.02 * torch.randn(1, (side // patch) ** 2 + 1, width))
        self.blocks = nn.Sequential(*(Block(width, heads, 1e-6) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(width, 1e-6), nn.Linear(width, classes)

    def forward(self, x):
        y = self.patches(x).flatten(2).transpose(1, 2)
        y = torch.cat([self.token.expand(y.shape[0], -1, -1).to(y.dtype), y], 1) + self.position
        return self.head(self.norm(self.blocks(y))[:, 0])


class Bottleneck(nn.Module):
    def __init__(self, channels, width, stride):
        super().__init__()
        out = 4 * width
        self.residual = nn.Sequential(
            nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True),
            nn.Conv2d(width, out, 1, bias=False), nn.BatchNorm2d(out))
        self.shortcut = nn.Identity() if channels == out and stride == 1 else nn.Sequential(
            nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x):
        return functional.relu(self.residual(x) + self.shortcut(x), inplace=True)


class ResNet(nn.Module):
    """[N, 3, H, W] images to [N, classes] (He et al. 2015), with the stride in the 3 × 3 convolution; ResNet-50 by default."""

    def __init__(self, blocks=(3, 4, 6, 3), width=64, classes=1000):
        super().__init__()
        layers, channels = [], width
        for i, n in enumerate(blocks):
            for k in range(n):
                layers.append(Bottleneck(channels, width << i, 2 if i and not k else 1))
                channels = 4 * (width << i)
        self.stem = nn.Sequential(nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True),
                                  nn.MaxPool2d(3, 2, 1))
        self.blocks, self.head = nn.Sequential(*layers), nn.Linear(channels, classes)

    def forward(self, x):
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))
