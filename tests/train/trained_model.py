"""What a run trained, apart from how: runs whose options differ are compared by it."""
import onnx


def trained_bytes(path):
    """The file at `path` without the options and the model that its metadata names."""
    model = onnx.load(path, load_external_data=False)
    kept = [p for p in model.metadata_props if p.key not in ("ongrad.options", "ongrad.model")]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    return model.SerializeToString(deterministic=True)
