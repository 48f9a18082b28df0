package org.pytorch.executorch;

/** Stands in for the AAR's class of this name on the host; holds tensors only. */
public class EValue {
    private final Tensor tensor;

    private EValue(Tensor tensor) {
        this.tensor = tensor;
    }

    public static EValue from(Tensor value) {
        return new EValue(value);
    }

    public Tensor toTensor() {
        return tensor;
    }
}
