"""PyTorch's side of tools/gpu_check: the time and memory of steps of one model in float16 on the first card.

    gpu_check_torch.py MODEL BATCH WAY STEPS      WAY is eager, compile or graphs (compile with CUDA graphs)

Prints one JSON object; a run that fails prints why as the last line on stderr. Autocast to float16, a gradient scaler, and
fused AdamW with clipping at norm 1, as ongrad trains.
"""
import json
import sys
import time


def light_transformer(torch):
    from torch import nn

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.features = nn.Linear(512, 768)
            layer = nn.TransformerEncoderLayer(768, 12, 3072, 0.1, "gelu", batch_first=True, norm_first=True)
            self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
            self.head = nn.Linear(768, 10)

        def forward(self, x):
            return self.head(self.encoder(self.features(x)).mean(1))

    return Model(), lambda n: torch.randn(n, 32, 512), 10


def gpt2(torch):
    from transformers import GPT2Config, GPT2LMHeadModel
    config = GPT2Config(attn_pdrop=0.0, embd_pdrop=0.0, resid_pdrop=0.0, use_cache=False)
    return GPT2LMHeadModel(config), lambda n: torch.randint(0, config.vocab_size, (n, 1024)), config.vocab_size


def bert_base(torch):
    from transformers import BertConfig, BertForMaskedLM
    config = BertConfig(max_position_embeddings=128)
    return BertForMaskedLM(config), lambda n: torch.randint(0, config.vocab_size, (n, 128)), config.vocab_size


def image_model(name):
    def make(torch):
        import torchvision
        return getattr(torchvision.models, name)(weights=None), lambda n: torch.randn(n, 3, 224, 224), 1000
    return make


MODELS = {"light_transformer": light_transformer, "gpt2": gpt2, "bert_base": bert_base, "resnet50": image_model("resnet50"),
          "vit_b_16": image_model("vit_b_16")}


def main(name, batch, way, steps):
    if name not in MODELS:
        sys.exit(f"there is no PyTorch model of this name; there are {', '.join(MODELS)}")
    try:
        import torch
    except ImportError as why:
        sys.exit(f"PyTorch is not installed: {why}")
    if not torch.cuda.is_available():
        sys.exit("PyTorch sees no GPU")
    try:
        model, inputs, classes = MODELS[name](torch)
    except ImportError as why:
        sys.exit(str(why))
    model = model.cuda().train()
    x = inputs(batch).cuda()
    target = torch.randint(0, classes, x.shape if x.dtype == torch.int64 else (batch,)).cuda()
    forward = model if way == "eager" else torch.compile(model, mode="reduce-overhead" if way == "graphs" else None)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    scaler = torch.amp.GradScaler("cuda")
    times = []
    for _ in range(steps):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cuda", torch.float16):
            y = forward(x)
            y = y.logits if hasattr(y, "logits") else y
            loss = torch.nn.functional.cross_entropy(y.flatten(0, -2).float(), target.flatten())
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        torch.cuda.synchronize()
        times.append(1e3 * (time.perf_counter() - begin))
    times = sorted(times[5:])
    print(json.dumps({"median_ms": times[len(times) // 2], "peak_bytes": torch.cuda.max_memory_reserved(),
                      "version": torch.__version__}))


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
