"""The architectures of the table: small configurations with random weights.

`ARCHITECTURES` maps a name to a Case. A case builds its model, its inputs and its target after the caller has set the seed,
so every run sees the same ones. Dropout and stochastic depth are 0 wherever curves are compared.
"""
import dataclasses
import math
from typing import Callable

import torch
import torch.nn as nn
import torch.nn.functional as F
import torchvision.models as tv


@dataclasses.dataclass
class Case:
    model: Callable[[], nn.Module]
    inputs: Callable[[], dict]           # name -> batch; the first axis is the batch
    target: Callable[[], torch.Tensor]
    loss: str = "cross_entropy"
    compare: bool = True                 # False: random in training, so only its training is looked at
    fixed_batch: bool = False            # the model itself is made for one batch size
    lr: float = 1e-3


ARCHITECTURES = {}


def case(name, inputs, target, **more):
    """Decorator: the class or function below it makes the model of architecture `name`."""
    def add(make):
        ARCHITECTURES[name] = Case(make, inputs, target, **more)
        return make
    return add


def image(batch=4, channels=3, size=32):
    return lambda: {"image": torch.randn(batch, channels, size, size)}


def labels(batch=4, classes=10):
    return lambda: torch.randint(0, classes, (batch,))


def tokens(batch=3, length=12, vocabulary=50):
    return torch.randint(0, vocabulary, (batch, length))


def token_labels(batch=3, length=12, vocabulary=50):
    return lambda: tokens(batch, length, vocabulary)


class Logits(nn.Module):
    """A model of the transformers library with tensors in and its logits out."""
    def __init__(self, model, *names, **fixed):
        super().__init__()
        self.model, self.names, self.fixed = model, names, fixed

    def forward(self, *inputs):
        return self.model(**dict(zip(self.names, inputs)), **self.fixed).logits


# ---- convolutional networks for images -------------------------------------------------------------------------------

# Eight images of 64 × 64: with fewer values to normalize, one sign that rounding turns at a ReLU makes another curve.
@case("ResNet", image(8, size=64), labels(8), lr=1e-4)
def resnet():
    return tv.ResNet(tv.resnet.BasicBlock, [1, 1, 1, 1], num_classes=10)


@case("ResNet bottleneck", image(), labels())
def resnet_bottleneck():
    return tv.ResNet(tv.resnet.Bottleneck, [1, 1, 1, 1], num_classes=10, groups=4, width_per_group=8)


@case("MobileNetV2", image(), labels())
def mobilenet_v2():
    return tv.MobileNetV2(10, width_mult=0.25, dropout=0.0,
                          inverted_residual_setting=[[1, 16, 1, 1], [6, 24, 2, 2], [6, 32, 2, 2]])


@case("MobileNetV3", image(), labels())
def mobilenet_v3():
    from torchvision.models.mobilenetv3 import InvertedResidualConfig as Config, MobileNetV3
    return MobileNetV3([Config(16, 3, 16, 16, True, "RE", 2, 1, 1), Config(16, 3, 32, 24, False, "RE", 2, 1, 1),
                        Config(24, 5, 48, 24, True, "HS", 1, 1, 1)], last_channel=64, num_classes=10, dropout=0.0)


@case("EfficientNet", image(), labels())
def efficientnet():
    from torchvision.models.efficientnet import MBConvConfig as Config
    return tv.EfficientNet([Config(1, 3, 1, 16, 16, 1, 1, 1), Config(4, 3, 2, 16, 24, 2, 1, 1),
                            Config(4, 5, 2, 24, 40, 1, 1, 1)], dropout=0.0, stochastic_depth_prob=0.0,
                           num_classes=10, last_channel=80)


@case("VGG", image(size=56), labels())
def vgg():
    model = tv.VGG(tv.vgg.make_layers([16, "M", 32, "M", 64, 64, "M"], batch_norm=True), num_classes=10, dropout=0.0)
    model.classifier = nn.Sequential(nn.Linear(64 * 49, 64), nn.ReLU(True), nn.Linear(64, 10))
    return model


@case("AlexNet", image(size=64), labels())
def alexnet():
    model = tv.AlexNet(10, dropout=0.0)
    model.classifier = nn.Sequential(nn.Linear(256 * 36, 64), nn.ReLU(True), nn.Linear(64, 10))
    return model


@case("DenseNet", image(), labels())
def densenet():
    return tv.DenseNet(growth_rate=8, block_config=(2, 2, 2), num_init_features=16, num_classes=10)


@case("ShuffleNet", image(8, size=64), labels(8), lr=1e-4)  # as ResNet
def shufflenet():
    return tv.ShuffleNetV2([2, 2, 2], [8, 16, 32, 64, 64], num_classes=10)


@case("RegNet", image(), labels())
def regnet():
    from torchvision.models.regnet import BlockParams
    return tv.RegNet(BlockParams.from_init_params(depth=4, w_0=16, w_a=16.0, w_m=2.0, group_width=8,
                                                  se_ratio=0.25), num_classes=10)


@case("GoogLeNet", image(8, size=96), labels(8), lr=1e-5)
def googlenet():
    return tv.GoogLeNet(num_classes=10, aux_logits=False, init_weights=False, dropout=0.0)


@case("SqueezeNet", image(), labels())
def squeezenet():
    return tv.SqueezeNet("1_1", num_classes=10, dropout=0.0)


@case("MNASNet", image(8, size=96), labels(8), lr=5e-6)
def mnasnet():
    return tv.MNASNet(0.25, num_classes=10, dropout=0.0)


@case("ConvNeXt", image(), labels())
def convnext():
    from torchvision.models.convnext import CNBlockConfig as Config
    return tv.ConvNeXt([Config(16, 32, 2), Config(32, None, 2)], stochastic_depth_prob=0.0, layer_scale=0.1,
                       num_classes=10)


@case("FCN segmentation", image(batch=4, size=48), lambda: torch.randint(0, 5, (4, 48, 48)))
class Segmentation(nn.Module):
    """Strided features, dilated convolutions, bilinear interpolation back to the image's size."""
    def __init__(self):
        super().__init__()
        self.a = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU())
        self.b = nn.Sequential(nn.Conv2d(16, 32, 3, 2, 2, dilation=2), nn.BatchNorm2d(32), nn.ReLU())
        self.head = nn.Conv2d(32, 5, 1)

    def forward(self, x):
        y = self.head(self.b(self.a(x)))
        return F.interpolate(y, size=x.shape[-2:], mode="bilinear", align_corners=False)


@case("UNet", image(channels=1), lambda: torch.randn(4, 1, 32, 32), loss="mse")
class UNet(nn.Module):
    def __init__(self):
        super().__init__()

        def block(i, o):
            return nn.Sequential(nn.Conv2d(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU(),
                                 nn.Conv2d(o, o, 3, padding=1), nn.GroupNorm(4, o), nn.SiLU())
        self.down1, self.down2, self.middle = block(1, 8), block(8, 16), block(16, 32)
        self.up2, self.up1 = nn.ConvTranspose2d(32, 16, 2, 2), nn.Upsample(scale_factor=2)
        self.out2, self.out1, self.head = block(32, 16), block(24, 8), nn.Conv2d(8, 1, 1)

    def forward(self, x):
        a = self.down1(x)
        b = self.down2(F.max_pool2d(a, 2))
        c = self.middle(F.max_pool2d(b, 2))
        b = self.out2(torch.cat([self.up2(c), b], 1))
        return self.head(self.out1(torch.cat([self.up1(b), a], 1)))


@case("Autoencoder", image(channels=1, size=28), lambda: torch.rand(4, 1, 28, 28), loss="mse")
class Autoencoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(1, 8, 3, 2, 1), nn.ELU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ELU(),
                                     nn.Flatten(), nn.Linear(16 * 49, 12))
        self.decoder = nn.Sequential(nn.Linear(12, 16 * 49), nn.Unflatten(1, (16, 7, 7)),
                                     nn.ConvTranspose2d(16, 8, 3, 2, 1, output_padding=1), nn.ELU(),
                                     nn.ConvTranspose2d(8, 1, 4, 2, 1), nn.Sigmoid())

    def forward(self, x):
        return self.decoder(self.encoder(x))


@case("Super-resolution", image(channels=1, size=12), lambda: torch.rand(4, 1, 24, 24), loss="l1")
class SuperResolution(nn.Module):
    """Sub-pixel convolution (PixelShuffle) with PReLU and reflection padding."""
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.ReflectionPad2d(2), nn.Conv2d(1, 16, 5), nn.PReLU(16), nn.Conv2d(16, 16, 3, 1, 1),
                                 nn.PReLU(), nn.Conv2d(16, 4, 3, 1, 1), nn.PixelShuffle(2))

    def forward(self, x):
        return self.net(x)


@case("GAN discriminator", image(size=16), lambda: torch.randint(0, 2, (4,)).float(), loss="bce_with_logits")
class Discriminator(nn.Module):
    """LeakyReLU, InstanceNorm, strided convolutions, one logit."""
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(3, 16, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(16, 32, 4, 2, 1),
                                 nn.InstanceNorm2d(32, affine=True), nn.LeakyReLU(0.2), nn.Conv2d(32, 1, 4))

    def forward(self, x):
        return self.net(x).flatten()


@case("Conv3d", lambda: {"video": torch.randn(4, 3, 6, 16, 16)}, labels())
class Video(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Conv3d(3, 8, 3, padding=1), nn.BatchNorm3d(8), nn.ReLU(), nn.MaxPool3d((1, 2, 2)),
                                 nn.Conv3d(8, 16, 3, (1, 2, 2), 1), nn.BatchNorm3d(16), nn.ReLU(),
                                 nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(16, 10))

    def forward(self, x):
        return self.net(x)


@case("Conv1d audio", lambda: {"wave": torch.randn(4, 1, 400)}, labels())
class Audio(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Conv1d(1, 16, 20, 5), nn.BatchNorm1d(16), nn.ReLU(), nn.MaxPool1d(2),
                                 nn.Conv1d(16, 32, 5, padding=2, groups=2), nn.BatchNorm1d(32), nn.ReLU(),
                                 nn.AvgPool1d(3))
        self.head = nn.Linear(64, 10)

    def forward(self, x):
        y = self.net(x)
        return self.head(torch.cat([y.mean(-1), y.std(-1)], 1))


@case("GroupNorm net", image(), labels())
class GroupNormNet(nn.Module):
    """Weight standardization and GroupNorm."""
    def __init__(self):
        super().__init__()
        self.c1, self.c2, self.c3 = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 32, 3, 2, 1), nn.Conv2d(32, 32, 3, 2, 1)
        self.n1, self.n2, self.n3 = nn.GroupNorm(4, 16), nn.GroupNorm(1, 32), nn.GroupNorm(32, 32, affine=False)
        self.head, self.standardized = nn.Linear(32, 10), []

    @staticmethod
    def standard(w):
        w = w - w.mean((1, 2, 3), keepdim=True)
        return w / (w.var((1, 2, 3), keepdim=True, unbiased=False) + 1e-5).sqrt()

    def standardize(self, kept):
        """Do so to the weights whose names are not kept; the others are standardized in every step."""
        self.standardized = [c for n, c in self.named_children() if f"{n}.weight" not in kept and n.startswith("c")]
        for c in self.standardized:
            c.weight.data = self.standard(c.weight.data)
        return self.standardized

    def forward(self, x):
        for c, n in ((self.c1, self.n1), (self.c2, self.n2), (self.c3, self.n3)):
            w = c.weight if c in self.standardized else self.standard(c.weight)
            x = F.mish(n(F.conv2d(x, w, c.bias, c.stride, c.padding)))
        return self.head(x.mean((2, 3)))


# ---- vision transformers ---------------------------------------------------------------------------------------------

@case("ViT", image(), labels())
def vit():
    model = tv.VisionTransformer(image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=32, mlp_dim=64,
                                 num_classes=10)
    nn.init.normal_(model.heads.head.weight, std=0.1)  # zero otherwise: nothing would flow at first
    return model


@case("Swin", image(), labels())
def swin():
    return tv.SwinTransformer(patch_size=[2, 2], embed_dim=16, depths=[2, 2], num_heads=[2, 4], window_size=[4, 4],
                              stochastic_depth_prob=0.0, num_classes=10)


@case("Swin V2", image(), labels())
def swin_v2():
    from torchvision.models.swin_transformer import PatchMergingV2, SwinTransformerBlockV2
    return tv.SwinTransformer(patch_size=[2, 2], embed_dim=16, depths=[2, 2], num_heads=[2, 4], window_size=[4, 4],
                              stochastic_depth_prob=0.0, num_classes=10, block=SwinTransformerBlockV2,
                              downsample_layer=PatchMergingV2)


@case("MaxViT", image(), labels())
def maxvit():
    return tv.MaxVit(input_size=(32, 32), stem_channels=16, partition_size=4, block_channels=[16, 32],
                     block_layers=[1, 1], head_dim=8, stochastic_depth_prob=0.0, num_classes=10)


@case("MLP-Mixer", image(), labels())
class Mixer(nn.Module):
    class Block(nn.Module):
        def __init__(self, patches, d):
            super().__init__()
            self.n1, self.n2 = nn.LayerNorm(d), nn.LayerNorm(d)
            self.token = nn.Sequential(nn.Linear(patches, 32), nn.GELU(), nn.Linear(32, patches))
            self.channel = nn.Sequential(nn.Linear(d, 64), nn.GELU(), nn.Linear(64, d))

        def forward(self, x):
            x = x + self.token(self.n1(x).transpose(1, 2)).transpose(1, 2)
            return x + self.channel(self.n2(x))

    def __init__(self, d=24):
        super().__init__()
        self.patches = nn.Conv2d(3, d, 8, 8)
        self.blocks = nn.Sequential(*(self.Block(16, d) for _ in range(2)))
        self.norm, self.head = nn.LayerNorm(d), nn.Linear(d, 10)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        return self.head(self.norm(self.blocks(x)).mean(1))


@case("SegFormer", image(size=64), lambda: torch.randint(0, 5, (4, 16, 16)))
def segformer():
    from transformers import SegformerConfig, SegformerForSemanticSegmentation
    config = SegformerConfig(num_encoder_blocks=2, depths=[1, 1], sr_ratios=[2, 1], hidden_sizes=[16, 32],
                             patch_sizes=[7, 3], strides=[4, 2], num_attention_heads=[1, 2], mlp_ratios=[2, 2],
                             hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, classifier_dropout_prob=0.0,
                             drop_path_rate=0.0, decoder_hidden_size=32, num_labels=5)
    return Logits(SegformerForSemanticSegmentation(config), "pixel_values")


# ---- language --------------------------------------------------------------------------------------------------------

def masked_tokens():
    mask = torch.ones(3, 12, dtype=torch.int64)
    mask[1, 9:] = 0
    mask[2, 5:] = 0
    return {"input_ids": tokens(), "attention_mask": mask}


@case("BERT", masked_tokens, labels(3, 4))
def bert():
    from transformers import BertConfig, BertForSequenceClassification
    config = BertConfig(vocab_size=50, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
                        max_position_embeddings=16, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
                        num_labels=4)
    return Logits(BertForSequenceClassification(config), "input_ids", "attention_mask")


@case("BERT masked LM", masked_tokens, token_labels())
def bert_mlm():
    from transformers import BertConfig, BertForMaskedLM
    config = BertConfig(vocab_size=50, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64,
                        max_position_embeddings=16, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    return Logits(BertForMaskedLM(config), "input_ids", "attention_mask")


@case("DistilBERT", masked_tokens, labels(3, 4))
def distilbert():
    from transformers import DistilBertConfig, DistilBertForSequenceClassification
    config = DistilBertConfig(vocab_size=50, dim=32, n_layers=2, n_heads=2, hidden_dim=64, max_position_embeddings=16,
                              dropout=0.0, attention_dropout=0.0, seq_classif_dropout=0.0, num_labels=4)
    return Logits(DistilBertForSequenceClassification(config), "input_ids", "attention_mask")


@case("RoBERTa", masked_tokens, labels(3, 4))
def roberta():
    from transformers import RobertaConfig, RobertaForSequenceClassification
    config = RobertaConfig(vocab_size=50, hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
                           intermediate_size=64, max_position_embeddings=20, hidden_dropout_prob=0.0,
                           attention_probs_dropout_prob=0.0, num_labels=4)
    return Logits(RobertaForSequenceClassification(config), "input_ids", "attention_mask")


@case("GPT-2", masked_tokens, token_labels())
def gpt2():
    from transformers import GPT2Config, GPT2LMHeadModel
    config = GPT2Config(vocab_size=50, n_positions=16, n_embd=32, n_layer=2, n_head=2, resid_pdrop=0.0, embd_pdrop=0.0,
                        attn_pdrop=0.0, use_cache=False, bos_token_id=0, eos_token_id=0)
    return Logits(GPT2LMHeadModel(config), "input_ids", "attention_mask", use_cache=False)


@case("Llama", masked_tokens, token_labels())
def llama():
    from transformers import LlamaConfig, LlamaForCausalLM
    config = LlamaConfig(vocab_size=50, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
                         num_key_value_heads=2, max_position_embeddings=32, use_cache=False, bos_token_id=0,
                         eos_token_id=1)
    return Logits(LlamaForCausalLM(config), "input_ids", "attention_mask", use_cache=False)


@case("T5", lambda: {"input_ids": tokens(), "decoder_input_ids": tokens(length=7)}, token_labels(length=7))
def t5():
    from transformers import T5Config, T5ForConditionalGeneration
    config = T5Config(vocab_size=50, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, dropout_rate=0.0,
                      relative_attention_num_buckets=8, use_cache=False, decoder_start_token_id=0,
                      attn_implementation="eager")
    return Logits(T5ForConditionalGeneration(config), "input_ids", "decoder_input_ids", use_cache=False)


@case("Transformer encoder-decoder",
      lambda: {"source": torch.randn(3, 9, 16), "destination": torch.randn(3, 6, 16)},
      lambda: torch.randn(3, 6, 16), loss="mse")
class Seq2Seq(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Transformer(16, 2, 1, 1, 32, 0.0, batch_first=True)

    def forward(self, source, destination):
        mask = nn.Transformer.generate_square_subsequent_mask(6, dtype=source.dtype)
        return self.net(source, destination, tgt_mask=mask, tgt_is_causal=True)


@case("RMSNorm MoE", lambda: {"x": torch.randn(4, 6, 16)}, lambda: torch.randn(4, 6, 16), loss="mse")
class MixtureOfExperts(nn.Module):
    """nn.RMSNorm, SwiGLU experts, a softmax over the two best of four."""
    def __init__(self, d=16):
        super().__init__()
        self.norm, self.gate = nn.RMSNorm(d), nn.Linear(d, 4, bias=False)
        self.a, self.b = nn.Parameter(torch.randn(4, d, 24) * 0.2), nn.Parameter(torch.randn(4, d, 24) * 0.2)
        self.c = nn.Parameter(torch.randn(4, 24, d) * 0.2)

    def forward(self, x):
        y = self.norm(x)
        value, index = self.gate(y).topk(2, -1)
        weight = torch.zeros_like(self.gate(y)).scatter(-1, index, value.softmax(-1))
        h = F.silu(torch.einsum("btd,edf->btef", y, self.a)) * torch.einsum("btd,edf->btef", y, self.b)
        return x + torch.einsum("btef,efd,bte->btd", h, self.c, weight)


@case("CLIP", lambda: {"image": torch.randn(4, 3, 32, 32), "text": tokens(4, 8)}, lambda: torch.arange(4))
class Clip(nn.Module):
    """Two towers, normalized embeddings, a learned temperature."""
    def __init__(self, d=32):
        super().__init__()
        self.vision = nn.Sequential(nn.Conv2d(3, d, 8, 8), nn.GELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(d, d))
        self.embedding, self.position = nn.Embedding(50, d), nn.Parameter(torch.randn(8, d) * 0.1)
        layer = nn.TransformerEncoderLayer(d, 2, 2 * d, 0.0, "gelu", batch_first=True, norm_first=True)
        self.text = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def forward(self, image, text):
        a = F.normalize(self.vision(image), dim=-1)
        b = F.normalize(self.text(self.embedding(text) + self.position).mean(1), dim=-1)
        return self.scale.exp() * a @ b.T


# ---- sequences -------------------------------------------------------------------------------------------------------

def sequence(batch=4, length=10, features=6):
    return lambda: {"x": torch.randn(batch, length, features)}


class Recurrent(nn.Module):
    def __init__(self, cell, **options):
        super().__init__()
        self.net = cell(6, 12, batch_first=True, **options)
        self.head = nn.Linear(12 * (2 if options.get("bidirectional") else 1), 3)

    def forward(self, x):
        return self.head(self.net(x)[0][:, -1])


for _name, _cell in (("LSTM", nn.LSTM), ("GRU", nn.GRU), ("RNN", nn.RNN)):
    case(_name, sequence(), labels(4, 3))(lambda cell=_cell: Recurrent(cell))
    case(_name + " bidirectional", sequence(), labels(4, 3))(lambda cell=_cell: Recurrent(cell, bidirectional=True))
    case(_name + " stacked", sequence(), labels(4, 3))(lambda cell=_cell: Recurrent(cell, num_layers=2))


@case("LSTM seq2seq", lambda: {"source": tokens(3, 9), "destination": tokens(3, 7)}, token_labels(length=7))
class RecurrentSeq2Seq(nn.Module):
    """An encoder's final state starts the decoder; dot-product attention over the encoder's outputs."""
    def __init__(self, d=16):
        super().__init__()
        self.embedding = nn.Embedding(50, d)
        self.encoder, self.decoder = nn.LSTM(d, d, batch_first=True), nn.LSTM(d, d, batch_first=True)
        self.head = nn.Linear(2 * d, 50)

    def forward(self, source, destination):
        memory, state = self.encoder(self.embedding(source))
        y, _ = self.decoder(self.embedding(destination), state)
        weight = (y @ memory.transpose(1, 2)).softmax(-1)
        return self.head(torch.cat([y, weight @ memory], -1))


@case("TCN", lambda: {"x": torch.randn(4, 6, 20)}, labels(4, 3))
class TCN(nn.Module):
    """Causal dilated convolutions whose weights are computed from a direction and a length (weight norm)."""
    def __init__(self):
        super().__init__()
        from torch.nn.utils.parametrizations import weight_norm
        self.layers = nn.ModuleList(weight_norm(nn.Conv1d(i, 12, 3, dilation=d)) for i, d in ((6, 1), (12, 2), (12, 4)))
        self.skip, self.head = nn.Conv1d(6, 12, 1), nn.Linear(12, 3)

    def forward(self, x):
        y = x
        for layer, dilation in zip(self.layers, (1, 2, 4)):
            z = F.relu(layer(F.pad(y, (2 * dilation, 0))))
            y = z + (self.skip(y) if y.shape[1] != 12 else y)
        return self.head(y[:, :, -1])


@case("WaveNet", lambda: {"x": torch.randint(0, 32, (3, 24))}, token_labels(3, 24, 32))
class WaveNet(nn.Module):
    """Gated dilated convolutions with skip connections."""
    def __init__(self, d=12):
        super().__init__()
        self.embedding = nn.Embedding(32, d)
        self.gates = nn.ModuleList(nn.Conv1d(d, 2 * d, 2, dilation=2 ** i) for i in range(3))
        self.outs = nn.ModuleList(nn.Conv1d(d, 2 * d, 1) for _ in range(3))
        self.head = nn.Conv1d(d, 32, 1)

    def forward(self, x):
        y, total = self.embedding(x).transpose(1, 2), 0
        for i, (gate, out) in enumerate(zip(self.gates, self.outs)):
            a, b = gate(F.pad(y, (2 ** i, 0))).chunk(2, 1)
            r, s = out(torch.tanh(a) * torch.sigmoid(b)).split(y.shape[1], 1)
            y, total = y + r, total + s
        return self.head(F.relu(total)).transpose(1, 2)


@case("State space", sequence(length=8), labels(4, 3))
class StateSpace(nn.Module):
    """A diagonal linear recurrence, unrolled, with input-dependent decay."""
    def __init__(self, d=8):
        super().__init__()
        self.up, self.decay, self.head = nn.Linear(6, d), nn.Linear(6, d), nn.Linear(d, 3)
        self.a = nn.Parameter(torch.linspace(0.5, 2, d).log())

    def forward(self, x):
        u, step = self.up(x), F.softplus(self.decay(x))
        keep = torch.exp(-self.a.exp() * step)
        h = torch.zeros_like(u[:, 0])
        for t in range(8):
            h = keep[:, t] * h + step[:, t] * u[:, t]
        return self.head(h)


# ---- points, graphs, tables, fields ----------------------------------------------------------------------------------

@case("PointNet", lambda: {"points": torch.randn(4, 3, 32)}, labels())
class PointNet(nn.Module):
    """With the transform network: a matrix a sample, added to the identity."""
    def __init__(self):
        super().__init__()

        def features(i, *widths):
            layers = []
            for o in widths:
                layers += [nn.Conv1d(i, o, 1), nn.BatchNorm1d(o), nn.ReLU()]
                i = o
            return nn.Sequential(*layers)
        self.transform, self.matrix = features(3, 16, 32), nn.Linear(32, 9)
        self.features = features(3, 16, 64)
        self.head = nn.Sequential(nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 10))

    def forward(self, x):
        m = self.matrix(self.transform(x).max(2)[0]).view(-1, 3, 3) + torch.eye(3, dtype=x.dtype)
        x = torch.bmm(x.transpose(2, 1), m).transpose(2, 1)
        return self.head(torch.max(self.features(x), 2)[0])


@case("Siren", lambda: {"x": torch.rand(64, 2) * 2 - 1}, lambda: torch.randn(64, 3), loss="mse", lr=1e-4)
class Siren(nn.Module):
    def __init__(self, d=32):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(2, d), nn.Linear(d, d), nn.Linear(d, d)])
        self.head = nn.Linear(d, 3)

    def forward(self, x):
        for layer in self.layers:
            x = torch.sin(30 * layer(x) / (1 if layer.in_features == 2 else math.sqrt(6)))
        return self.head(x)


@case("DLRM", lambda: {"dense": torch.randn(8, 5), "sparse": torch.randint(0, 20, (8, 3))},
      lambda: torch.randint(0, 2, (8,)).float(), loss="bce_with_logits")
class Recommender(nn.Module):
    """Embeddings and dense features, their pairwise products, a logit."""
    def __init__(self, d=8):
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(20, d) for _ in range(3))
        self.bottom = nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, d), nn.ReLU())
        self.top = nn.Sequential(nn.Linear(d + 6, 16), nn.ReLU(), nn.Linear(16, 1))
        self.register_buffer("pairs", torch.tril_indices(4, 4, -1))

    def forward(self, dense, sparse):
        x = self.bottom(dense)
        z = torch.stack([x] + [table(sparse[:, i]) for i, table in enumerate(self.tables)], 1)
        products = torch.bmm(z, z.transpose(1, 2))[:, self.pairs[0], self.pairs[1]]
        return self.top(torch.cat([x, products], 1)).squeeze(1)


@case("EmbeddingBag text", lambda: {"tokens": tokens(4, 6)}, labels(4, 3))
class Bag(nn.Module):
    def __init__(self):
        super().__init__()
        self.bag, self.head = nn.EmbeddingBag(50, 16, mode="mean"), nn.Linear(16, 3)

    def forward(self, tokens):
        return self.head(self.bag(tokens))


def small_graphs():
    return {"x": torch.randn(4, 7, 5), "source": torch.randint(0, 7, (4, 12)), "destination": torch.randint(0, 7, (4, 12))}


@case("GNN scatter", small_graphs, labels(4, 3))
class GraphNet(nn.Module):
    """A batch of graphs: messages along edges gathered by source, scattered to destination and added."""
    def __init__(self, d=16):
        super().__init__()
        self.message = nn.ModuleList([nn.Linear(5, d), nn.Linear(d, d)])
        self.own = nn.ModuleList([nn.Linear(5, d), nn.Linear(d, d)])
        self.head = nn.Linear(d, 3)

    def forward(self, x, source, destination):
        for message, own in zip(self.message, self.own):
            m = message(x)
            m = m.gather(1, source.unsqueeze(-1).expand(-1, -1, m.shape[-1]))
            to = destination.unsqueeze(-1).expand(-1, -1, m.shape[-1])
            x = F.relu(own(x) + torch.zeros_like(own(x)).scatter_add(1, to, m))
        return self.head(x.amax(1))


@case("GCN fixed graph", lambda: {"x": torch.randn(10, 5)}, labels(10, 3), fixed_batch=True)
class GCN(nn.Module):
    """Node classification on one graph, which is a buffer."""
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(5, 16), nn.Linear(16, 3)
        self.register_buffer("edges", torch.randint(0, 10, (2, 30), generator=torch.Generator().manual_seed(3)))

    def spread(self, x):
        degree = torch.zeros(10, dtype=x.dtype).index_add(0, self.edges[1], torch.ones(30, dtype=x.dtype)) + 1
        return (x + torch.zeros_like(x).index_add(0, self.edges[1], x[self.edges[0]])) / degree.unsqueeze(1)

    def forward(self, x):
        return self.b(self.spread(F.relu(self.a(self.spread(x)))))


@case("GAT", lambda: {"x": torch.randn(3, 6, 5), "adjacency": (torch.rand(3, 6, 6) > 0.5)}, labels(3, 3))
class GraphAttention(nn.Module):
    """Attention over neighbours, the rest masked out by a boolean input."""
    def __init__(self, d=8):
        super().__init__()
        self.w, self.a, self.b, self.head = nn.Linear(5, d), nn.Linear(d, 1), nn.Linear(d, 1), nn.Linear(d, 3)

    def forward(self, x, adjacency):
        h = self.w(x)
        score = F.leaky_relu(self.a(h) + self.b(h).transpose(1, 2), 0.2)
        eye = torch.eye(6, dtype=torch.bool)
        score = score.masked_fill(~(adjacency | eye), float("-inf"))
        return self.head(F.elu(score.softmax(-1) @ h).mean(1))


@case("FT-Transformer", lambda: {"numbers": torch.randn(8, 4), "categories": torch.randint(0, 5, (8, 3))},
      lambda: torch.randn(8), loss="mse")
class TabularTransformer(nn.Module):
    def __init__(self, d=16):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(4, d)), nn.Parameter(torch.randn(4, d))
        self.embedding, self.first = nn.Embedding(15, d), nn.Parameter(torch.randn(1, 1, d))
        self.register_buffer("offsets", torch.tensor([0, 5, 10]))
        layer = nn.TransformerEncoderLayer(d, 2, 32, 0.0, F.relu, batch_first=True, norm_first=True)
        self.net, self.head = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False), nn.Linear(d, 1)

    def forward(self, numbers, categories):
        x = numbers.unsqueeze(-1) * self.weight + self.bias
        y = self.embedding(categories + self.offsets)
        z = torch.cat([self.first.expand(x.shape[0], -1, -1), x, y], 1)
        return self.head(F.relu(self.net(z)[:, 0])).squeeze(-1)


@case("NeRF", lambda: {"position": torch.rand(16, 3), "direction": torch.rand(16, 3)}, lambda: torch.rand(16, 4),
      loss="mse")
class NeRF(nn.Module):
    """Positional encoding, a skip connection, two heads."""
    def __init__(self, d=32):
        super().__init__()
        self.register_buffer("frequencies", 2.0 ** torch.arange(4) * math.pi)
        self.a, self.b = nn.Linear(24, d), nn.Linear(d + 24, d)
        self.density, self.color = nn.Linear(d, 1), nn.Linear(d + 24, 3)

    def encode(self, x):
        y = (x.unsqueeze(-1) * self.frequencies).flatten(1)
        return torch.cat([y.sin(), y.cos()], -1)

    def forward(self, position, direction):
        p = self.encode(position)
        h = F.relu(self.b(torch.cat([F.relu(self.a(p)), p], -1)))
        return torch.cat([F.softplus(self.density(h)), torch.sigmoid(self.color(torch.cat([h, self.encode(direction)], -1)))], -1)


@case("Residual MLP", lambda: {"x": torch.randn(16, 12)}, lambda: torch.randn(16, 1), loss="mse")
class ResidualMLP(nn.Module):
    """Highway gates, layer scale, spectral norm, a learned scalar."""
    def __init__(self, d=24):
        super().__init__()
        self.a, self.gate, self.b = nn.Linear(12, d), nn.Linear(d, d), nn.Linear(d, d)
        self.c, self.scale, self.norm = nn.Linear(d, 1), nn.Parameter(torch.tensor(0.5)), nn.BatchNorm1d(d)

    def forward(self, x):
        x = F.hardswish(self.a(x))
        g = torch.sigmoid(self.gate(x))
        x = g * F.selu(self.b(x)) + (1 - g) * x
        return self.c(self.norm(x)) * self.scale


# ---- random in training ----------------------------------------------------------------------------------------------

@case("Dropout MLP", lambda: {"x": torch.randn(32, 12)}, labels(32, 4), compare=False)
class DropoutMLP(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(12, 64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 64), nn.ReLU(),
                                 nn.Dropout(0.2), nn.Linear(64, 4))

    def forward(self, x):
        return self.net(x)
