"""Model FLOP utilization: of the operations that a card could do, how many the model needed."""
import re

# Dense float16 products with float32 sums, 10^12 operations a second, from NVIDIA's data sheets (half of what they give with
# sparsity); of GeForce cards, which add to float32 at half their speed, from the white papers of GA102, AD102 and GB202. The
# first pattern that a name has counts; what is not here, parts of cards and laptops' cards have none.
PEAKS = [
    (r"\bMIG\b|Laptop|Max-Q", None),
    (r"\bB200\b", 2250.0),
    (r"\b(H200|H100) NVL\b", 835.5),
    (r"\bGH200\b", 989.4),
    (r"\bH200\b", 989.4),
    (r"\bH100 PCIe\b", 756.5),
    (r"\bH100\b", 989.4),
    (r"\bA100\b", 312.0),
    (r"\bA30\b", 165.0),
    (r"\bA40\b", 149.7),
    (r"\bA10G\b", None),  # its maker gives 70 or 125
    (r"\bA10\b", 125.0),
    (r"\bL40S\b", 362.05),
    (r"\bL40\b", 181.05),
    (r"\bL4\b", 121.0),
    (r"\bRTX A6000\b", 154.8),
    (r"\bRTX 6000 Ada\b", 364.25),
    (r"\bRTX 3090 Ti\b", 80.0),
    (r"\bRTX 3090\b", 71.0),
    (r"\bRTX 4090 D\b", None),
    (r"\bRTX 4090\b", 165.2),
    (r"\bRTX 5090 D\b", None),
    (r"\bRTX 5090\b", 209.5),
]


def peak_of(name):
    """Operations a second; None: not known."""
    for pattern, peak in PEAKS:
        if re.search(pattern, name):
            return peak and 1e12 * peak
    return None


def figures(batch, flops, median_ms, peak):
    """Of a step: samples a second, and where the card's peak is known the model FLOP utilization."""
    seconds = 1e-3 * median_ms
    found = {"samples_per_s": batch / seconds, "flops_per_s": flops / seconds}
    if peak:
        found["mfu"] = flops / seconds / peak
    return found
